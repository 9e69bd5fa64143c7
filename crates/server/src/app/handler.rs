//! An endpoint and its handler without their types: door one and HTTP are compiled once, not once for each endpoint.

use std::future::Future;
use std::pin::Pin;

use keyark_api::{Endpoint, EndpointInfo};
use serde::Serialize;
use serde_json::{Map, Value};

use super::error::{AppError, Result};
use super::{App, Content, Ctx, Handle, Reply};

/// An endpoint as data, and how a request to it is read and run.
#[derive(Clone, Copy)]
pub struct Handler {
    pub info: EndpointInfo,
    bind: fn(Input) -> serde_json::Result<Call>,
}

/// What a request says: the text of its body, or the fields of path, query and body in one object.
pub enum Input {
    Text(Vec<u8>),
    Object(Map<String, Value>),
}

/// A request that was read, ready to run.
pub type Call = Box<dyn for<'a> FnOnce(&'a Ctx) -> Running<'a> + Send>;

type Running<'a> = Pin<Box<dyn Future<Output = Result<Written>> + Send + 'a>>;

/// A reply whose content is JSON text.
pub type Written = Reply<Vec<u8>>;

impl Handler {
    pub fn of<E: Endpoint>() -> Handler
    where
        App: Handle<E>,
    {
        Handler { info: EndpointInfo::of::<E>(), bind: bind::<E> }
    }

    /// Fails where the request is not what the endpoint takes.
    pub fn bind(&self, input: Input) -> serde_json::Result<Call> {
        (self.bind)(input)
    }
}

fn bind<E: Endpoint>(input: Input) -> serde_json::Result<Call>
where
    App: Handle<E>,
{
    let request: E = match input {
        Input::Text(bytes) => serde_json::from_slice(&bytes)?,
        Input::Object(object) => serde_json::from_value(Value::Object(object))?,
    };
    Ok(Box::new(move |ctx| Box::pin(async move { written(ctx.app.handle(ctx, request).await?) })))
}

fn written<T: Serialize>(reply: Reply<T>) -> Result<Written> {
    let Reply { content, revision, status, position } = reply;
    let content = match content {
        Content::Json(value) => Content::Json(serde_json::to_vec(&value).map_err(AppError::internal)?),
        Content::None => Content::None,
        Content::File { path, name, etag } => Content::File { path, name, etag },
    };
    Ok(Reply { content, revision, status, position })
}
