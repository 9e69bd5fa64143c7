//! A downloaded backup key: its password is typed, given, or made by the server; its file and passphrase part ways here.

use std::io::IsTerminal;
use std::path::Path;

use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::tree::Verb;
use crate::{ask, files};

/// Offers to type the password of a file that is about to be made; nothing typed lets the server make a strong one.
pub fn offer(verb: &Verb, fields: &mut Map<String, Value>) -> Result<(), Failure> {
    if verb.field("password").is_none() || fields.contains_key("password") || !ask::somebody() {
        return Ok(());
    }
    let typed = ask::password("Password of the exported file (nothing: a strong one is made and shown): ")?;
    if typed.is_empty() {
        return Ok(());
    }
    if typed != ask::password("The same again: ")? {
        return Err(Failure::Refused("the two passwords differ; nothing was written".into()));
    }
    fields.insert("password".into(), Value::String(typed));
    Ok(())
}

/// Takes the file and the passphrase out of an answer: the file goes to `path`, the passphrase to the terminal or, if
/// nobody is there, to a file beside it. What is left may be shown.
pub fn save(answer: &mut Map<String, Value>, path: &Path) -> Result<(), Failure> {
    let Some(Value::String(content)) = answer.remove("file") else {
        return Err(Failure::Damaged("the answer holds no file: use a client of the server's version".into()));
    };
    files::write_private(path, content.as_bytes())?;
    eprintln!("Wrote {}.", path.display());
    let Some(Value::String(made)) = answer.remove("passphrase") else { return Ok(()) };
    if std::io::stderr().is_terminal() {
        eprintln!("Its passphrase, shown this once; write it down and keep it elsewhere:\n\n    {made}\n");
        return Ok(());
    }
    let beside = files::beside(path, ".passphrase");
    files::write_private(&beside, format!("{made}\n").as_bytes())?;
    eprintln!("Its passphrase is in {}; keep it elsewhere than the file.", beside.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::IsTerminal;

    use serde_json::{Value, json};

    use super::save;

    #[test]
    fn file_and_passphrase_leave_the_answer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.jwe");
        let Value::Object(mut answer) = json!({ "keyid": "7", "file": "e30", "fileName": "x", "passphrase": "AB-CD" })
        else {
            unreachable!()
        };
        save(&mut answer, &path).unwrap();
        assert_eq!(Value::Object(answer), json!({ "keyid": "7", "fileName": "x" }));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "e30");
        if !std::io::stderr().is_terminal() {
            assert_eq!(std::fs::read_to_string(folder.path().join("key.jwe.passphrase")).unwrap(), "AB-CD\n");
        }
        assert!(save(&mut serde_json::Map::new(), &path).is_err());
    }
}
