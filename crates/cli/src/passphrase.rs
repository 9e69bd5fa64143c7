//! The passphrase of a backup key that is downloaded: given, typed, or made here, which is the safest.

use std::io::IsTerminal;
use std::path::Path;

use keyark_crypto::Secret;
use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::tree::Verb;
use crate::{ask, files};

/// Puts a password into a download that takes one and was given none; gives it back if it was made here.
pub fn fill(verb: &Verb, fields: &mut Map<String, Value>) -> Result<Option<Secret<String>>, Failure> {
    if verb.field("password").is_none() || fields.contains_key("password") {
        return Ok(None);
    }
    if ask::somebody() {
        let prompt = "Password of the exported file (nothing: a strong one is made and shown): ";
        let typed = ask::password(prompt)?;
        if !typed.is_empty() {
            if typed != ask::password("The same again: ")? {
                return Err(Failure::Refused("the two passwords differ; nothing was written".into()));
            }
            fields.insert("password".into(), Value::String(typed));
            return Ok(None);
        }
    }
    let made = keyark_archive::passphrase::generate();
    fields.insert("password".into(), Value::String(made.expose().clone()));
    Ok(Some(made))
}

/// Tells the passphrase once: on the terminal, or in a file beside the other.
pub fn hand_over(made: &Secret<String>, path: &Path) -> Result<(), Failure> {
    if std::io::stderr().is_terminal() {
        eprintln!("Its passphrase, shown this once; write it down and keep it elsewhere:\n\n    {}\n", made.expose());
        return Ok(());
    }
    let beside = files::beside(path, ".passphrase");
    files::write_private(&beside, made.expose().as_bytes())?;
    eprintln!("Its passphrase is in {}; keep it elsewhere than the file.", beside.display());
    Ok(())
}
