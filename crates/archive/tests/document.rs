//! `docs/archive-format.md` against the golden archives, read here with what the page says and nothing of the crate.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::Value;

const MAGIC: &[u8] = b"\x89KEYARK\r\n\x1a\n\0";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(root().join("fixtures/archive-v1").join(name)).unwrap()
}

/// A part of a file: where, how long, what.
struct Part {
    at: usize,
    length: usize,
    what: &'static str,
}

/// The parts of a file by the tables of sections 1, 3 and 6: each begins where the one before ends.
fn parts(file: &[u8]) -> Vec<Part> {
    let number = |at: usize| u32::from_be_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    let header = number(12);
    let tail = file.len() - 20;
    let (footer, signature) = (number(tail), number(tail + 4));
    let body = tail - signature - footer - 16 - header;
    let mut parts = Vec::new();
    let mut at = 0;
    for (length, what) in [
        (12, "MAGIC"),
        (4, "header length"),
        (header, "header"),
        (1, "body: length of its own header"),
        (32, "body: salt"),
        (7, "body: nonce prefix"),
        (body - 40, "body: the only segment, ciphertext and tag"),
        (footer, "footer"),
        (1, "signature block: algorithm, Ed25519"),
        (32, "signature block: public key"),
        (64, "signature block: signature"),
        (4, "footer length"),
        (4, "signature length"),
        (12, "MAGIC"),
    ] {
        parts.push(Part { at, length, what });
        at += length;
    }
    assert_eq!((at, signature), (file.len(), 97));
    parts
}

/// The table of section 8.
fn table(file: &[u8]) -> String {
    let mut text = String::from("| offset | bytes | part | content |\n|---|---|---|---|\n");
    for part in parts(file) {
        let bytes = &file[part.at..part.at + part.length];
        let content = match part.what {
            "header" | "footer" => format!("`{}`", String::from_utf8(bytes.to_vec()).unwrap().replace('|', "\\|")),
            _ => {
                let shown: Vec<_> = bytes.iter().take(12).map(|b| format!("{b:02X}")).collect();
                format!("`{}{}`", shown.join(" "), if bytes.len() > 12 { " …" } else { "" })
            }
        };
        writeln!(text, "| {} | {} | {} | {content} |", part.at, part.length, part.what).unwrap();
    }
    text
}

#[test]
fn the_example_of_the_page_is_the_golden_file() {
    let file = golden("domain-segment.keyark");
    let (magic, end) = (&file[..12], &file[file.len() - 12..]);
    assert_eq!((magic, end, file[16 + parts(&file)[2].length]), (MAGIC, MAGIC, 0x28));
    let path = root().join("docs/archive-format.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, shown) = page.split_once("| offset | bytes | part | content |").expect("section 8 has the table");
    let wanted = table(&file);
    if std::env::var_os("KEYARK_BLESS").is_some() {
        std::fs::write(&path, format!("{before}{wanted}")).unwrap();
    } else {
        assert_eq!(format!("| offset | bytes | part | content |{shown}"), wanted);
    }
}

/// The names of JSON that the page describes between two of its headings, in backquotes or quotes.
fn described(page: &str, from: &str, to: &str) -> BTreeSet<String> {
    let section = page.split_once(from).unwrap().1.split_once(to).unwrap().0;
    let words = section.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter(|w| !w.is_empty()).map(str::to_owned).collect()
}

#[test]
fn every_name_in_the_golden_files_is_on_the_page() {
    let page = std::fs::read_to_string(root().join("docs/archive-format.md")).unwrap();
    let mut seen = BTreeSet::new();
    for name in ["system", "domain", "system-segment", "domain-segment"] {
        let file = golden(&format!("{name}.keyark"));
        let parts = parts(&file);
        for (part, from, to) in [(2, "## 2. Header", "## 3."), (7, "## 5. Footer", "## 6.")] {
            let part = &parts[part];
            let json: Value = serde_json::from_slice(&file[part.at..part.at + part.length]).unwrap();
            let described = described(&page, from, to);
            for key in json.as_object().unwrap().keys() {
                assert!(described.contains(key), "{key} of the {} is not described in section {from}", part.what);
                seen.insert(key.clone());
            }
        }
    }
    // The other way round, for the rows of the header's table: what no golden file shows is optional by its own row.
    let rows = page.split_once("## 2. Header").unwrap().1.split_once("**Opening.**").unwrap().0;
    for row in rows.lines().filter(|l| l.starts_with("| `")) {
        let (names, value) = row[2..].split_once(" | ").unwrap();
        let optional = ["present exactly", "optional", "absent", "segments:"].iter().any(|w| value.contains(w));
        for name in names.split('`').filter(|n| n.chars().all(char::is_alphanumeric) && !n.is_empty()) {
            assert!(seen.contains(name) || optional, "{name} is on the page, in no golden file and not optional");
        }
    }
}
