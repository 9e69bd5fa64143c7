//! Answers on standard output: JSON, a table or YAML, with the fields in the server's order.

use std::io::{IsTerminal, Write};

use comfy_table::{Attribute, Cell, ContentArrangement, Table, presets};
use serde_norway::{Mapping, Value};

use crate::failure::Failure;

/// How to show an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    Json,
    Table,
    Yaml,
}

/// Columns that a table leaves out: the same for every resource, or a repetition of its id.
const LEFT_OUT: &[&str] = &["uri", "account", "application", "devAccount"];

impl Format {
    /// JSON unless told otherwise, as ksctl does it.
    pub fn of(name: Option<&str>) -> Result<Format, Failure> {
        match name {
            None | Some("json") => Ok(Format::Json),
            Some("table") => Ok(Format::Table),
            Some("yaml") => Ok(Format::Yaml),
            Some(other) => Err(Failure::Usage(format!("--output is json, table or yaml, not {other:?}"))),
        }
    }
}

/// Shows JSON on standard output; nothing if there is none.
pub fn show(json: &[u8], format: Format) -> Result<(), Failure> {
    if json.is_empty() {
        return Ok(());
    }
    let text = render(json, format, coloured())?;
    print(&text)
}

/// Shows a value that this program made.
pub fn show_value(value: &impl serde::Serialize, format: Format) -> Result<(), Failure> {
    let json = serde_json::to_vec(value).map_err(|e| Failure::Damaged(e.to_string()))?;
    show(&json, format)
}

/// Writes to standard output; a reader that has seen enough is no error.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::Terminal(e)),
        _ => Ok(()),
    }
}

/// Colours and bold type only for a person who did not refuse them (no-color.org).
fn coloured() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// The text with its line ending.
fn render(json: &[u8], format: Format, bold: bool) -> Result<String, Failure> {
    let unreadable = |e: &dyn std::fmt::Display| Failure::Damaged(format!("the answer cannot be shown: {e}"));
    // This mapping keeps the order of what it reads, whatever format that was.
    let value: Value = serde_json::from_slice(json).map_err(|e| unreadable(&e))?;
    match format {
        Format::Json => serde_json::to_string_pretty(&value).map(|t| t + "\n").map_err(|e| unreadable(&e)),
        Format::Yaml => serde_norway::to_string(&value).map_err(|e| unreadable(&e)),
        Format::Table => Ok(page(&value, bold) + "\n"),
    }
}

/// A table, and a further one under its own title for each list of objects in it.
fn page(value: &Value, bold: bool) -> String {
    let mut text = table(value, bold).trim_fmt();
    let mut add = |title: String, rows: &Value| {
        text.push_str(&format!("\n\n{title}\n{}", page(rows, bold)));
    };
    if let Some(fields) = value.as_mapping().filter(|fields| !fields.contains_key("resources")) {
        for (name, rows) in fields.iter().filter(|(_, rows)| is_table(rows)) {
            add(plain(name).to_uppercase(), rows);
        }
    }
    for row in value.as_sequence().into_iter().flatten().filter_map(Value::as_mapping) {
        let called = ["alias", "name", "id"].iter().find_map(|field| row.get(*field)).map(plain).unwrap_or_default();
        for (name, rows) in row.iter().filter(|(_, rows)| is_table(rows)) {
            add(format!("{} OF {called}", plain(name).to_uppercase()), rows);
        }
    }
    text
}

/// Whether it is a list of objects.
fn is_table(value: &Value) -> bool {
    value.as_sequence().is_some_and(|rows| !rows.is_empty() && rows.iter().all(Value::is_mapping))
}

fn table(value: &Value, bold: bool) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    // A terminal that does not know its width (a serial line) says 0; there nothing is wrapped.
    if table.width().is_none_or(|width| width >= NARROWEST) {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    let rows = value.as_sequence().or_else(|| value.get("resources").and_then(Value::as_sequence));
    if let Some(rows) = rows {
        let columns = columns(rows);
        if columns.is_empty() {
            table.add_rows(rows.iter().map(|row| [plain(row)]));
            return table;
        }
        table.set_header(columns.iter().map(|name| title(name, bold)));
        for row in rows {
            table.add_row(columns.iter().map(|name| row.get(*name).map(plain).unwrap_or_default()));
        }
    } else if let Some(fields) = value.as_mapping() {
        for (name, value) in fields.iter().filter(|(_, value)| !is_table(value)) {
            table.add_row([title(&plain(name), bold), Cell::new(lines(value))]);
        }
    } else {
        table.add_row([plain(value)]);
    }
    table
}

fn title(name: &str, bold: bool) -> Cell {
    let cell = Cell::new(name.to_uppercase());
    if bold { cell.add_attribute(Attribute::Bold) } else { cell }
}

/// The plain fields that any row has, in the order of their first appearance.
fn columns(rows: &[Value]) -> Vec<&str> {
    let mut columns: Vec<&str> = Vec::new();
    for row in rows.iter().filter_map(Value::as_mapping).flat_map(Mapping::iter) {
        let (Some(name), false) =
            (row.0.as_str(), matches!(row.1, Value::Mapping(_) | Value::Sequence(_) | Value::Null))
        else {
            continue;
        };
        if !LEFT_OUT.contains(&name) && !columns.contains(&name) {
            columns.push(name);
        }
    }
    columns
}

/// A value of an object: a list of texts has a line for each.
fn lines(value: &Value) -> String {
    match value.as_sequence() {
        Some(all) if all.iter().all(Value::is_string) => all.iter().map(plain).collect::<Vec<_>>().join("\n"),
        _ => plain(value),
    }
}

/// One cell: text as it is, anything else as JSON; characters that could move the cursor are shown, not sent.
fn plain(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => serde_json::to_string(other).unwrap_or_default(),
    };
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Columns below which a table is not fitted to the terminal.
const NARROWEST: u16 = 40;

#[cfg(test)]
mod tests {
    use super::{Format, render};

    const LIST: &[u8] = br#"{"skip":0,"limit":10,"total":2,"resources":[
        {"scope":"system","id":"c05b","isDefault":true,"uri":"kylo:x","labels":{"a":"b"}},
        {"scope":"domain","domainID":"0000","id":"2f91","isDefault":false,"uri":"kylo:y"}]}"#;

    #[test]
    fn json_and_yaml_keep_the_order_of_the_server() {
        let json = render(br#"{"scope":"system","account":"k","isDefault":false}"#, Format::Json, false).unwrap();
        assert_eq!(json, "{\n  \"scope\": \"system\",\n  \"account\": \"k\",\n  \"isDefault\": false\n}\n");
        let yaml = render(br#"{"b":[1,"2"],"a":null}"#, Format::Yaml, false).unwrap();
        assert_eq!(yaml, "b:\n- 1\n- '2'\na: null\n");
        let big = br#"{"n":18446744073709551615,"s":"\ud83d\ude00"}"#;
        let json = render(big, Format::Json, false).unwrap();
        assert_eq!(json, "{\n  \"n\": 18446744073709551615,\n  \"s\": \"😀\"\n}\n");
    }

    #[test]
    fn a_list_is_a_table_of_its_plain_fields() {
        let text = render(LIST, Format::Table, false).unwrap();
        let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[0], ["SCOPE", "ID", "ISDEFAULT", "DOMAINID"]);
        assert_eq!(words[1], ["system", "c05b", "true"]);
        assert_eq!(words[2], ["domain", "2f91", "false", "0000"]);
        assert_eq!(words.len(), 3);
    }

    #[test]
    fn an_object_is_a_table_of_names_and_values_and_cannot_move_the_cursor() {
        let text = render(b"{\"name\":\"a\\u001b[2Jb\",\"meta\":{\"x\":1}}", Format::Table, false).unwrap();
        let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words, [["NAME", "a\u{fffd}[2Jb"], ["META", "{\"x\":1}"]]);
    }

    #[test]
    fn lists_of_objects_inside_have_tables_of_their_own() {
        let status =
            br#"{"time":"now","instances":[{"alias":"all","lag":3,"destinations":[{"name":"nas"},{"name":"s3"}]}],
            "warnings":["one","two"],"alarms":[]}"#;
        let text = render(status, Format::Table, false).unwrap();
        let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        let wanted: [&[&str]; 12] = [
            &["TIME", "now"],
            &["WARNINGS", "one"],
            &["two"],
            &["ALARMS"],
            &[],
            &["INSTANCES"],
            &["ALIAS", "LAG"],
            &["all", "3"],
            &[],
            &["DESTINATIONS", "OF", "all"],
            &["NAME"],
            &["nas"],
        ];
        assert_eq!(words[..12], wanted);
        assert_eq!(words[12..], [["s3"]]);
    }

    #[test]
    fn formats_have_three_names() {
        assert_eq!(Format::of(None).unwrap(), Format::Json);
        assert_eq!(Format::of(Some("yaml")).unwrap(), Format::Yaml);
        assert!(Format::of(Some("xml")).is_err());
    }
}
