//! Flags into the JSON of a request.

use clap::parser::ArgMatches;
use serde_json::{Map, Value};

use crate::ask;
use crate::failure::Failure;
use crate::field::{Field, Shape};
use crate::files;
use crate::tree::{POSITIONALS, Verb, is_secret};

/// The fields that the command line gives: `--jsonfile`, then flags, then positional arguments for the rest of the path.
pub fn build(verb: &Verb, matches: &ArgMatches) -> Result<Map<String, Value>, Failure> {
    let mut request = match one(matches, "jsonfile") {
        Some(path) if verb.field("jsonfile").is_none() => object_in_file(path)?,
        _ => Map::new(),
    };
    for field in &verb.fields {
        if let Some(value) = given(field, matches)? {
            request.insert(field.wire.clone(), value);
        }
    }
    let mut positionals = matches.try_get_many::<String>(POSITIONALS).ok().flatten().into_iter().flatten();
    for field in verb.fields.iter().filter(|f| f.in_path.is_some()) {
        if !request.contains_key(&field.wire)
            && let Some(text) = positionals.next()
        {
            request.insert(field.wire.clone(), typed(field, text)?);
        }
    }
    match positionals.next() {
        Some(left) => Err(Failure::Usage(format!("{left:?} is one argument too many: a flag says the same already"))),
        None => Ok(request),
    }
}

/// The required fields that a request still lacks.
pub fn missing<'a>(verb: &'a Verb, request: &'a Map<String, Value>) -> impl Iterator<Item = &'a Field> {
    verb.fields.iter().filter(|f| f.required && !request.contains_key(&f.wire))
}

/// The value that a flag or its file gives.
fn given(field: &Field, matches: &ArgMatches) -> Result<Option<Value>, Failure> {
    if let Some(path) = one(matches, &format!("{}-jsonfile", field.flag)) {
        return json_in_file(path).map(Some);
    }
    if is_secret(field)
        && let Some(path) = one(matches, &format!("{}-file", field.flag))
    {
        return ask::secret_in_file(path).map(|secret| Some(Value::String(secret)));
    }
    let Some(texts) = matches.try_get_many::<String>(&field.flag).ok().flatten() else { return Ok(None) };
    let texts: Vec<&String> = texts.collect();
    match field.shape {
        Shape::Map => map(field, &texts).map(Some),
        _ if field.list => {
            texts.iter().map(|text| typed(field, text)).collect::<Result<_, _>>().map(|v| Some(Value::Array(v)))
        }
        _ => texts.last().map(|text| typed(field, text)).transpose(),
    }
}

/// One text as the field's type.
fn typed(field: &Field, text: &str) -> Result<Value, Failure> {
    let bad = |what: &str| Failure::Usage(format!("--{} takes {what}, not {text:?}", field.flag));
    match field.shape {
        Shape::Text => Ok(Value::String(text.into())),
        Shape::Content => files::text(text).map(Value::String),
        Shape::Integer => match (text.parse::<i64>(), text.parse::<u64>()) {
            (Ok(n), _) => Ok(n.into()),
            (_, Ok(n)) => Ok(n.into()),
            _ => Err(bad("a whole number")),
        },
        Shape::Number => text.parse::<f64>().map(Value::from).map_err(|_| bad("a number")),
        Shape::Boolean => text.parse::<bool>().map(Value::from).map_err(|_| bad("true or false")),
        Shape::Json | Shape::Map => match text {
            "-" => json_in_file("-"),
            text => serde_json::from_str(text).map_err(|e| bad(&format!("JSON ({e})"))),
        },
        Shape::Any => Ok(serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.into()))),
    }
}

/// `name=value` repeated, or JSON objects; later ones win.
fn map(field: &Field, texts: &[&String]) -> Result<Value, Failure> {
    let mut all = Map::new();
    for text in texts {
        if text.starts_with('{') || *text == "-" {
            match typed(field, text)? {
                Value::Object(more) => all.extend(more),
                _ => return Err(Failure::Usage(format!("--{} takes an object", field.flag))),
            }
        } else if let Some((name, value)) = text.split_once('=') {
            all.insert(name.into(), Value::String(value.into()));
        } else {
            return Err(Failure::Usage(format!("--{} takes NAME=VALUE, not {text:?}", field.flag)));
        }
    }
    Ok(Value::Object(all))
}

fn json_in_file(path: &str) -> Result<Value, Failure> {
    serde_json::from_str(&files::text(path)?).map_err(|e| Failure::Usage(format!("{path} is not JSON: {e}")))
}

fn object_in_file(path: &str) -> Result<Map<String, Value>, Failure> {
    match json_in_file(path)? {
        Value::Object(fields) => Ok(fields),
        _ => Err(Failure::Usage(format!("{path} holds no JSON object"))),
    }
}

fn one<'a>(matches: &'a ArgMatches, flag: &str) -> Option<&'a str> {
    matches.try_get_one::<String>(flag).ok().flatten().map(String::as_str)
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
