//! The pages under `docs/` that are made from tables in the code.

use keyark_api::ErrorCode;
use keyark_model::kind::Shipping;
use keyark_model::{Kind, key};
use keyark_testkit::committed::compare;

#[test]
fn errors() {
    let mut page = String::from(
        "# Error codes\n\n\
         This page is made from the table in `crates/api/src/error.rs`; change that.\n\n\
         Every error answer is `{\"code\", \"codeDesc\", \"message\", \"requestID\"}`: `codeDesc` is the name and the text \
         below, `message` says what happened this time and what to do next. *Exit* is the exit status of the command \
         line.\n\n| code | name | HTTP | exit | text |\n| --- | --- | --- | --- | --- |\n",
    );
    for code in ErrorCode::ALL {
        let (number, wire, status, text) = (code.number(), code.wire(), code.status(), code.text());
        page.push_str(&format!(
            "| {number} | {wire} | {status} | {} {:?} | {text} |\n",
            code.exit() as i32,
            code.exit()
        ));
    }
    compare("docs/errors.md", &page);
}

#[test]
fn key_states() {
    compare("docs/key-states.md", &key::key_states_markdown());
}

#[test]
fn kinds() {
    let mut page = String::from(
        "# Kinds of record, and the archives they travel in\n\n\
         This page is made from the table in `crates/model/src/kind.rs`; change that. A kind that is in no archive \
         stands in a system archive's log as a digest only, and is carried over or made new by a restore.\n\n\
         | number | kind | system archive | domain archive |\n| --- | --- | --- | --- |\n",
    );
    for kind in Kind::ALL {
        let (system, domain) = match kind.shipping() {
            Shipping::SystemAndDomain => ("yes", "yes"),
            Shipping::System => ("yes", "–"),
            Shipping::Never => ("–", "–"),
        };
        page.push_str(&format!("| {} | {kind} | {system} | {domain} |\n", *kind as u8));
    }
    compare("docs/kinds.md", &page);
}

#[test]
fn openapi() {
    let document = keyark_api::openapi::document(env!("CARGO_PKG_VERSION"));
    let page = serde_json::to_string_pretty(&document).unwrap();
    compare("docs/openapi.json", &format!("{page}\n"));
}
