//! The flags that every command takes: whom to talk to, as whom, and how to show the answer; flag before environment.

use clap::parser::ArgMatches;
use clap::{Arg, ArgAction};

/// Where they stand in a command's help.
const HEADING: &str = "Connection and output";

/// The flags. A command that has a field of the same name keeps the field; the flag then goes before the noun.
pub fn args() -> Vec<Arg> {
    let text = |flag: &'static str, value: &'static str, help: &'static str| {
        Arg::new(flag).long(flag).value_name(value).help(help).help_heading(HEADING)
    };
    let mark = |flag: &'static str, help: &'static str| {
        Arg::new(flag).long(flag).action(ArgAction::SetTrue).help(help).help_heading(HEADING)
    };
    vec![
        text("url", "URL", "The server [KEYARK_URL; default https://127.0.0.1:9443]"),
        text("user", "NAME", "Who logs in [KEYARK_USER; the password: --password-file or KEYARK_PASSWORD]"),
        text("password-file", "FILE", "File with the password, - for standard input [KEYARK_PASSWORD_FILE]"),
        text("domain", "NAME", "The domain to work in [KEYARK_DOMAIN]"),
        text("auth-domain", "NAME", "The domain where the user was made [KEYARK_AUTH_DOMAIN]"),
        text("ca", "FILE", "Authority that signed the server's certificate [KEYARK_CA; default keyark-data/ca.pem]"),
        text("profile", "NAME", "Profile of the configuration file [KEYARK_PROFILE]"),
        text("output", "FORMAT", "json (default), table or yaml [KEYARK_OUTPUT]").short('o'),
        mark("insecure", "Do not check the server's certificate; for this machine only"),
        mark("yes", "Answer yes to every question").short('y'),
    ]
}

/// What was given: the flags before the noun, those of the command, and the environment.
pub struct Given<'a> {
    root: &'a ArgMatches,
    command: &'a ArgMatches,
    /// Flags of the command that mean a field.
    fields: Vec<String>,
    environment: fn(&str) -> Option<String>,
}

impl<'a> Given<'a> {
    pub fn new(root: &'a ArgMatches, command: &'a ArgMatches, fields: Vec<String>) -> Given<'a> {
        Given { root, command, fields, environment: |name| std::env::var(name).ok() }
    }

    /// The value of a flag: of the command, then before the noun.
    pub fn flag(&self, flag: &str) -> Option<String> {
        self.places(flag).find_map(|m| m.try_get_one::<String>(flag).ok().flatten().cloned())
    }

    /// The value of a flag, else of its variable.
    pub fn text(&self, flag: &str) -> Option<String> {
        let variable = format!("KEYARK_{}", flag.to_uppercase().replace('-', "_"));
        self.flag(flag).or_else(|| self.variable(&variable))
    }

    /// A variable of the environment that is not empty.
    pub fn variable(&self, name: &str) -> Option<String> {
        (self.environment)(name).filter(|v| !v.is_empty())
    }

    /// Whether a mark was set.
    pub fn has(&self, flag: &str) -> bool {
        self.places(flag).any(|m| m.try_get_one::<bool>(flag).ok().flatten().is_some_and(|set| *set))
    }

    fn places(&self, flag: &str) -> impl Iterator<Item = &'a ArgMatches> {
        let own = (!self.fields.iter().any(|f| f == flag)).then_some(self.command);
        own.into_iter().chain([self.root])
    }
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command};

    use super::{Given, args};

    #[test]
    fn a_command_wins_over_the_root_and_a_field_is_no_option() {
        let leaf = Command::new("list")
            .arg(Arg::new("domain").long("domain"))
            .args(args().into_iter().filter(|a| a.get_long() != Some("domain")));
        let command = Command::new("keyark").args(args()).subcommand(leaf);
        let line = ["keyark", "--url", "a", "--domain", "root", "list", "--url", "b", "--domain", "field", "-y"];
        let matches = command.get_matches_from(line);
        let (_, leaf) = matches.subcommand().unwrap();
        let mut given = Given::new(&matches, leaf, vec!["domain".into()]);
        given.environment = |name| (name == "KEYARK_AUTH_DOMAIN").then(|| "environment".into());
        assert_eq!(given.text("url").as_deref(), Some("b"));
        assert_eq!(given.text("domain").as_deref(), Some("root"));
        assert_eq!(given.text("auth-domain").as_deref(), Some("environment"));
        assert_eq!(given.text("ca"), None);
        assert!(given.has("yes") && !given.has("insecure"));
    }
}
