//! Questions to the person at the terminal: yes or no, a name, a password.

use std::io::{IsTerminal, Write};
use std::path::Path;

use crate::failure::Failure;
use crate::files;

/// Whether somebody is there to answer.
pub fn somebody() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// One line typed after a prompt on standard error.
pub fn line(prompt: &str) -> Result<String, Failure> {
    eprint!("{prompt}");
    std::io::stderr().flush().map_err(Failure::Terminal)?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(Failure::Terminal)?;
    Ok(line.trim().to_owned())
}

/// `[y/N]`; without a terminal only `--yes` answers.
pub fn confirm(question: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !somebody() {
        return Err(Failure::Refused(format!("{question} Nobody is there to answer: add --yes if it shall be done")));
    }
    match line(&format!("{question} [y/N] "))?.to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::Refused("nothing was done".into())),
    }
}

/// Asks before a file that is there is replaced.
pub fn replace(path: &Path, yes: bool) -> Result<(), Failure> {
    match path.exists() {
        true => confirm(&format!("{} is there already. Replace it?", path.display()), yes),
        false => Ok(()),
    }
}

/// A password typed without being shown.
pub fn password(prompt: &str) -> Result<String, Failure> {
    rpassword::prompt_password(prompt).map_err(Failure::Terminal)
}

/// A new password, typed twice.
pub fn password_new(prompt: &str) -> Result<String, Failure> {
    loop {
        let first = password(prompt)?;
        if first == password("The same again: ")? {
            return Ok(first);
        }
        eprintln!("They differ; type it again.");
    }
}

/// A secret from a file or, with `-`, from standard input; one line ending is taken off.
pub fn secret_in_file(path: &str) -> Result<String, Failure> {
    let mut text = files::text(path)?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::{confirm, secret_in_file};
    use crate::failure::Failure;

    #[test]
    fn a_secret_file_loses_one_line_ending_and_nothing_else() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (content, secret) in [("pass word \n", "pass word "), ("x\r\n", "x"), ("x\n\n", "x\n"), ("x", "x")] {
            std::fs::write(file.path(), content).unwrap();
            assert_eq!(secret_in_file(file.path().to_str().unwrap()).unwrap(), secret);
        }
    }

    #[test]
    fn yes_is_an_answer() {
        assert!(confirm("Really?", true).is_ok());
        if !super::somebody() {
            assert!(matches!(confirm("Really?", false), Err(Failure::Refused(_))));
        }
    }
}
