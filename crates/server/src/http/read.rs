//! Reading a request: path, query and body become the one struct of the endpoint.

use axum::body::{Body as HttpBody, BodyDataStream};
use axum::extract::RawPathParams;
use axum::http::request::Parts;
use futures_util::StreamExt as _;
use keyark_api::endpoint::Body;
use keyark_api::{EndpointInfo, ErrorCode};
use serde_json::{Map, Value};

use crate::app::handler::{Call, Handler, Input};
use crate::app::{App, AppError, Request};

/// How long the next piece of a body may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

/// How the text of a path or query becomes a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shape {
    Text,
    Integer,
    Number,
    Boolean,
    List,
    Json,
}

/// The fields of an endpoint that may stand in its path or query.
pub struct Fields(Vec<(String, Shape)>);

impl Fields {
    pub fn of(endpoint: &EndpointInfo) -> Fields {
        let schema = keyark_api::openapi::request_schema(endpoint);
        let properties = schema["properties"].as_object().cloned().unwrap_or_default();
        Fields(properties.into_iter().map(|(name, schema)| (name, shape(&schema))).collect())
    }

    fn value(&self, name: &str, text: &str) -> Result<Value, AppError> {
        let bad = |what: &str| AppError::invalid(format!("{name} is {what}, not {text:?}"));
        let shape = self.0.iter().find(|(n, _)| n == name).map_or(Shape::Text, |(_, shape)| *shape);
        Ok(match shape {
            Shape::Text => Value::String(text.into()),
            Shape::Integer => text.parse::<i64>().map(Value::from).map_err(|_| bad("a whole number"))?,
            Shape::Number => text.parse::<f64>().map(Value::from).map_err(|_| bad("a number"))?,
            Shape::Boolean => text.parse::<bool>().map(Value::from).map_err(|_| bad("true or false"))?,
            Shape::List => Value::Array(vec![Value::String(text.into())]),
            // A time is such a field, too: what is no JSON is the text itself, and the field's own type judges it.
            Shape::Json => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.into())),
        })
    }
}

fn shape(schema: &Value) -> Shape {
    let of = |name: &str| match name {
        "integer" => Shape::Integer,
        "number" => Shape::Number,
        "boolean" => Shape::Boolean,
        "array" => Shape::List,
        "string" => Shape::Text,
        _ => Shape::Json,
    };
    match &schema["type"] {
        Value::String(name) => of(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).find(|n| *n != "null").map_or(Shape::Text, of),
        _ if schema.get("$ref").is_some() || schema.get("anyOf").is_some() => Shape::Json,
        _ => Shape::Text,
    }
}

/// Reads the whole request.
pub async fn read(
    app: &App,
    handler: &Handler,
    request: &mut Request,
    path: &RawPathParams,
    parts: &Parts,
    body: HttpBody,
    fields: &Fields,
) -> Result<Call, AppError> {
    let query = parts.uri.query().unwrap_or_default();
    let mut bytes = Vec::new();
    match handler.info.body {
        Body::Json => {
            check_media_type(parts)?;
            let small = axum::body::HttpBody::size_hint(&body).upper().is_some_and(|size| size <= SMALL_BODY);
            let body = if small { body } else { admitted(app, &handler.info, request, body).await? };
            bytes = collect(app, body).await?;
        }
        Body::File => {
            let body = admitted(app, &handler.info, request, body).await?;
            request.file = Some(super::serve::spool(app, body).await?);
        }
        // A body that nobody reads would end the connection under the client's next request.
        Body::Query if axum::body::HttpBody::is_end_stream(&body) => {}
        Body::Query => drain(&mut body.into_data_stream()).await,
    }
    if request.idempotency_key.is_some() {
        request.fingerprint = Some(app.idempotency.fingerprint(query, &bytes));
    }
    let empty = bytes.iter().all(u8::is_ascii_whitespace);
    if path.iter().next().is_none() && query.is_empty() && !empty {
        return handler.bind(Input::Text(bytes)).map_err(unreadable);
    }
    let mut object: Map<String, Value> = match empty {
        true => Map::new(),
        false => serde_json::from_slice(&bytes).map_err(unreadable)?,
    };
    for (name, text) in form_urlencoded::parse(query.as_bytes()) {
        match (object.get_mut(name.as_ref()), fields.value(&name, &text)?) {
            (Some(Value::Array(all)), Value::Array(mut more)) => all.append(&mut more),
            (Some(_), _) => return Err(AppError::invalid(format!("{name} is given twice"))),
            (None, value) => drop(object.insert(name.into_owned(), value)),
        }
    }
    for (name, text) in path.iter() {
        if object.insert(name.into(), fields.value(name, text)?).is_some() {
            return Err(AppError::invalid(format!("{name} stands in the path and in the request")));
        }
    }
    handler.bind(Input::Object(object)).map_err(unreadable)
}

/// Bodies up to here are read before the token is looked at.
const SMALL_BODY: u64 = 64 << 10;
/// How much of a body that is refused is read and thrown away, so that the client hears why before it is cut off.
const MOST_DRAINED: usize = 64 << 20;

/// A body whose sender may do this: nobody fills memory or disk before that is known.
async fn admitted(app: &App, endpoint: &EndpointInfo, request: &Request, body: HttpBody) -> Result<HttpBody, AppError> {
    match app.admit(endpoint, request) {
        Ok(_) => Ok(body),
        Err(e) => {
            drain(&mut body.into_data_stream()).await;
            Err(e)
        }
    }
}

/// Reads and throws away what is still on its way.
pub(super) async fn drain(stream: &mut BodyDataStream) {
    let mut drained = 0;
    while let Some(Ok(chunk)) = stream.next().await {
        drained += chunk.len();
        if drained > MOST_DRAINED {
            return;
        }
    }
}

/// The whole body, if it is not too large.
async fn collect(app: &App, body: HttpBody) -> Result<Vec<u8>, AppError> {
    let mut bytes = Vec::new();
    let mut stream = body.into_data_stream();
    let broken = || AppError::new(ErrorCode::BadRequest, "the body broke off or came too slowly; send it again");
    while let Some(chunk) = tokio::time::timeout(PATIENCE, stream.next()).await.map_err(|_| broken())? {
        let chunk = chunk.map_err(|_| broken())?;
        if bytes.len() + chunk.len() > app.settings.largest_body {
            drain(&mut stream).await;
            return Err(too_large(app));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn check_media_type(parts: &Parts) -> Result<(), AppError> {
    let media = parts.headers.get("content-type").and_then(|v| v.to_str().ok()).unwrap_or("application/json");
    match media.split(';').next().map(str::trim) {
        Some(m) if m.eq_ignore_ascii_case("application/json") || m.is_empty() => Ok(()),
        _ => Err(AppError::new(ErrorCode::UnsupportedMedia, "send Content-Type: application/json")),
    }
}

fn too_large(app: &App) -> AppError {
    let limit = app.settings.largest_body;
    AppError::new(ErrorCode::TooLarge, format!("the body is larger than {limit} bytes; split the batch"))
}

/// What serde says names the field; it never repeats a whole value.
fn unreadable(e: serde_json::Error) -> AppError {
    let text = e.to_string();
    let what = if e.is_eof() { "the body ends too early".to_owned() } else { text };
    AppError::new(ErrorCode::BadRequest, format!("the request cannot be read: {what}"))
}
