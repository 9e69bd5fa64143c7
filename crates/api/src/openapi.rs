//! OpenAPI 3.1 out of the list of endpoints.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::endpoint::{Body, EndpointInfo};
use keyark_model::access::Right;

/// The whole document; pure, so that a test can hold it against the committed copy.
pub fn document(version: &str) -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    let mut generator = settings.into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for endpoint in crate::list::endpoints() {
        let operation = operation(&mut generator, &endpoint);
        let item = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        item[endpoint.method.as_str().to_ascii_lowercase()] = operation;
    }
    let error = generator.subschema_for::<crate::ErrorBody>();
    let mut schemas: Map<String, Value> = generator.take_definitions(true).into_iter().collect();
    for endpoint in crate::list::endpoints() {
        // Requests were split into parameters and bodies above.
        schemas.remove(request_name(&endpoint).as_str());
    }
    schemas.remove("FileBody");
    schemas.remove("NoBody");
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Keyark",
            "version": version,
            "description": "A key manager whose keys survive. Every path is also served under /api.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" }
        },
        "servers": [{ "url": "/" }],
        "security": [{ "bearer": [] }],
        "tags": tags(),
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" } },
            "responses": { "error": { "description": "An error with its code, see docs/errors.md",
                "content": { "application/json": { "schema": error } } } }
        }
    })
}

fn tags() -> Value {
    let mut names: Vec<&str> = Vec::new();
    for endpoint in crate::list::endpoints() {
        let noun = tag(&endpoint);
        if !names.contains(&noun) {
            names.push(noun);
        }
    }
    names.into_iter().map(|name| json!({ "name": name })).collect()
}

fn tag(endpoint: &EndpointInfo) -> &'static str {
    endpoint.cli.split(' ').next().expect("the words of the command line are not empty")
}

fn request_name(endpoint: &EndpointInfo) -> String {
    let mut generator = schemars::SchemaGenerator::default();
    let schema = (endpoint.request)(&mut generator);
    let reference = schema.get("$ref").and_then(Value::as_str).unwrap_or_default();
    reference.rsplit('/').next().unwrap_or_default().to_owned()
}

/// A schema with every named type written out in place.
pub fn inlined(part: fn(&mut schemars::SchemaGenerator) -> schemars::Schema) -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    part(&mut settings.into_generator()).to_value()
}

/// The schema of a request: an object with `properties` and `required`.
pub fn request_schema(endpoint: &EndpointInfo) -> Value {
    inlined(endpoint.request)
}

fn operation(generator: &mut schemars::SchemaGenerator, endpoint: &EndpointInfo) -> Value {
    (endpoint.request)(generator);
    let response = (endpoint.response)(generator);
    let schema = generator.definitions().get(&request_name(endpoint)).cloned().unwrap_or_else(|| json!({}));
    let properties = schema["properties"].as_object().cloned().unwrap_or_default();
    let required: Vec<&str> =
        schema["required"].as_array().map(|r| r.iter().filter_map(Value::as_str).collect()).unwrap_or_default();
    let in_path = EndpointInfo::path_parameters(endpoint.path);
    let mut parameters = Vec::new();
    for name in &in_path {
        let property = properties.get(*name).cloned().unwrap_or_else(|| json!({ "type": "string" }));
        parameters.push(parameter(name, "path", true, property));
    }
    let rest: Vec<(&String, &Value)> = properties.iter().filter(|(n, _)| !in_path.contains(&n.as_str())).collect();
    let mut operation = json!({
        "operationId": endpoint.id,
        "tags": [tag(endpoint)],
        "summary": endpoint.summary,
        "responses": { endpoint.status.to_string(): answer(endpoint, &response), "default": { "$ref": "#/components/responses/error" } }
    });
    if endpoint.right == Right::Public {
        operation["security"] = json!([]);
    } else {
        operation["description"] = json!(format!("Needs the right {:?}.", endpoint.right));
    }
    match endpoint.body {
        Body::Query | Body::File => {
            parameters
                .extend(rest.iter().map(|(n, p)| parameter(n, "query", required.contains(&n.as_str()), (*p).clone())));
        }
        Body::Json if rest.is_empty() => {}
        Body::Json => {
            let needed: Vec<_> = required.iter().filter(|n| !in_path.contains(n)).collect();
            let fields: Map<String, Value> = rest.iter().map(|(n, p)| ((*n).clone(), (*p).clone())).collect();
            let mut body = json!({ "type": "object", "properties": fields, "additionalProperties": false });
            if !needed.is_empty() {
                body["required"] = json!(needed);
            }
            operation["requestBody"] =
                json!({ "required": !needed.is_empty(), "content": { "application/json": { "schema": body } } });
        }
    }
    if endpoint.body == Body::File {
        operation["requestBody"] = json!({ "required": true, "content": { "application/octet-stream": { "schema": { "type": "string", "format": "binary" } } } });
    }
    if !parameters.is_empty() {
        operation["parameters"] = Value::Array(parameters);
    }
    operation
}

fn parameter(name: &str, place: &str, required: bool, mut schema: Value) -> Value {
    let description = schema.as_object_mut().and_then(|s| s.remove("description"));
    let mut out = json!({ "name": name, "in": place, "required": required, "schema": schema });
    if let Some(text) = description {
        out["description"] = text;
    }
    out
}

fn answer(endpoint: &EndpointInfo, response: &schemars::Schema) -> Value {
    let name = response.get("$ref").and_then(Value::as_str).unwrap_or_default();
    if name.ends_with("/NoBody") {
        json!({ "description": "Done" })
    } else if name.ends_with("/FileBody") {
        json!({ "description": "The file", "content": { "application/octet-stream": { "schema": { "type": "string", "format": "binary" } } } })
    } else {
        json!({ "description": endpoint.summary, "content": { "application/json": { "schema": response } } })
    }
}
