//! The command tree: one verb for each endpoint of the list, its fields as flags, and the commands that need no server.

use clap::{Arg, ArgAction, Command, ValueHint};
use keyark_api::{Body, EndpointInfo, Method};

use keyark_api::openapi::inlined;

use crate::field::{Field, Shape, fields};
use crate::{builtin, options, words};

/// Id of the positional arguments.
pub const POSITIONALS: &str = "(path)";

/// A command that one endpoint answers.
pub struct Verb {
    /// `["keys", "create"]`.
    pub words: Vec<&'static str>,
    pub endpoint: EndpointInfo,
    pub fields: Vec<Field>,
    /// The answer is a file.
    pub downloads: bool,
    /// The answer is JSON with a file in it, to be written where `--file` says.
    pub saves: bool,
    /// The answer may name a job to wait for.
    pub waits: bool,
}

impl Verb {
    fn of(endpoint: EndpointInfo) -> Verb {
        let answer = inlined(endpoint.response);
        Verb {
            words: endpoint.cli.split(' ').collect(),
            fields: fields(&endpoint),
            downloads: endpoint.answers_file(),
            saves: ["file", "fileName"].iter().all(|name| answer["properties"].get(*name).is_some()),
            waits: answer["properties"].get("jobId").is_some(),
            endpoint,
        }
    }

    /// The words in one string.
    pub fn name(&self) -> &'static str {
        self.endpoint.cli
    }

    /// The request's body is a file.
    pub fn uploads(&self) -> bool {
        self.endpoint.body == Body::File
    }

    pub fn field(&self, wire: &str) -> Option<&Field> {
        self.fields.iter().find(|f| f.wire == wire)
    }

    /// Every long flag that means a field.
    pub fn field_flags(&self) -> Vec<String> {
        self.field_args().iter().filter_map(|a| a.get_long().map(str::to_owned)).collect()
    }

    fn field_args(&self) -> Vec<Arg> {
        let taken: Vec<&str> = self.fields.iter().map(|f| f.flag.as_str()).collect();
        self.fields.iter().flat_map(|f| field_args(self.words[0], f, &taken)).collect()
    }

    fn command(&self) -> Command {
        let name = self.words.last().copied().expect("an endpoint has at least one word");
        let mut command = Command::new(name).about(self.endpoint.summary);
        let path: Vec<String> =
            self.fields.iter().filter(|f| f.in_path.is_some()).map(|f| f.flag.to_uppercase()).collect();
        if !path.is_empty() {
            let positionals = Arg::new(POSITIONALS)
                .num_args(1..=path.len())
                .value_names(path)
                .action(ArgAction::Append)
                .help("The same as the flags of these names");
            command = command.arg(positionals);
        }
        command = command.args(self.field_args());
        if self.uploads() || self.downloads || self.saves {
            let help = if self.uploads() { "The file to send" } else { "Where to write the file" };
            let file = Arg::new("file").long("file").value_name("FILE").required(true).help(help);
            command = command.arg(file.value_hint(ValueHint::FilePath));
        }
        let in_body = self.fields.iter().any(|f| f.in_path.is_none());
        if self.endpoint.body == Body::Json && in_body {
            let help = "JSON file with the fields, - for standard input; flags come on top";
            command = command.arg(file_arg("jsonfile".into(), help.into()));
        }
        if self.waits {
            let help = "Wait until the job has ended; its outcome is the exit status";
            command = command.arg(Arg::new("wait").long("wait").action(ArgAction::SetTrue).help(help));
        }
        if matches!(self.endpoint.method, Method::PATCH | Method::DELETE) {
            let help = "Only if the resource still has this revision, the ETag of an earlier answer";
            command = command.arg(Arg::new("if-match").long("if-match").value_name("REVISION").help(help));
        }
        let taken = self.field_flags();
        let free = |a: &Arg| !taken.iter().any(|t| a.get_long() == Some(t.as_str()));
        command.args(options::args().into_iter().filter(free))
    }
}

/// The flags of one field: itself, and for JSON and secrets a file to read it from.
fn field_args(noun: &str, field: &Field, taken: &[&str]) -> Vec<Arg> {
    let needed = if field.required { " (required)" } else { "" };
    let mut arg = Arg::new(field.flag.clone()).long(field.flag.clone()).help(format!("{}{needed}", field.help));
    arg = arg.action(if field.list { ArgAction::Append } else { ArgAction::Set });
    arg = match field.shape {
        Shape::Boolean => {
            arg.num_args(0..=1).require_equals(true).default_missing_value("true").value_parser(["true", "false"])
        }
        Shape::Integer | Shape::Number => arg.value_name("NUMBER").allow_negative_numbers(true),
        Shape::Map => arg.value_name("NAME=VALUE"),
        Shape::Json => arg.value_name("JSON"),
        Shape::Content => arg.value_name("FILE").value_hint(ValueHint::FilePath),
        Shape::Text | Shape::Any => arg.value_name("TEXT"),
    };
    if !field.choices.is_empty() {
        arg = arg.value_parser(clap::builder::PossibleValuesParser::new(field.choices.clone()));
    }
    let aliases = words::flag_aliases(noun, &field.wire).into_iter().filter(|a| !taken.contains(a));
    let mut args = vec![arg.visible_aliases(aliases.collect::<Vec<_>>())];
    if matches!(field.shape, Shape::Json | Shape::Map) {
        args.push(file_arg(format!("{}-jsonfile", field.flag), format!("JSON file with --{}", field.flag)));
    }
    if is_secret(field) {
        args.push(file_arg(
            format!("{}-file", field.flag),
            format!("File with --{}, - for standard input", field.flag),
        ));
    }
    args.retain(|a| a.get_long().is_some_and(|long| long == field.flag || !taken.contains(&long)));
    args
}

fn file_arg(flag: String, help: String) -> Arg {
    Arg::new(flag.clone()).long(flag).value_name("FILE").help(help).value_hint(ValueHint::FilePath)
}

/// Whether the field must not stand on the command line, where `ps` shows it.
pub fn is_secret(field: &Field) -> bool {
    field.shape == Shape::Text && !field.list && (words::is_password(&field.wire) || words::is_material(&field.wire))
}

/// All verbs.
pub struct Tree(Vec<Verb>);

impl Tree {
    pub fn of(endpoints: Vec<EndpointInfo>) -> Tree {
        Tree(endpoints.into_iter().map(Verb::of).collect())
    }

    #[cfg(test)]
    pub fn verbs(&self) -> &[Verb] {
        &self.0
    }

    pub fn find(&self, words: &[&str]) -> Option<&Verb> {
        self.0.iter().find(|v| v.words == words)
    }

    /// The whole command line.
    pub fn command(&self) -> Command {
        let mut root = Command::new("keyark")
            .version(env!("CARGO_PKG_VERSION"))
            .about("A key manager whose keys survive")
            .subcommand_required(true)
            .arg_required_else_help(true)
            .args(options::args());
        for verb in &self.0 {
            root = insert(root, &verb.words, verb.command());
        }
        for (words, command) in builtin::commands() {
            root = insert(root, &words.split(' ').collect::<Vec<_>>(), command);
        }
        aliased(root)
    }
}

/// Puts a command at its words, making the nouns on the way.
fn insert(parent: Command, words: &[&'static str], leaf: Command) -> Command {
    match words {
        [] | [_] => parent.subcommand(leaf),
        [noun, rest @ ..] if parent.find_subcommand(noun).is_some() => {
            parent.mut_subcommand(noun, |found| insert(found, rest, leaf))
        }
        [noun, rest @ ..] => {
            let made = Command::new(*noun).about(builtin::noun_about(noun)).subcommand_required(true);
            parent.subcommand(insert(made.arg_required_else_help(true), rest, leaf))
        }
    }
}

/// Adds the other words of nouns and verbs where they are free.
fn aliased(root: Command) -> Command {
    let taken: Vec<String> = root.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    root.mut_subcommands(|noun| {
        let aliases = words::noun_aliases(noun.get_name()).into_iter().filter(|a| !taken.iter().any(|t| t == a));
        let noun = noun.visible_aliases(aliases.collect::<Vec<_>>());
        let verbs: Vec<String> = noun.get_subcommands().map(|c| c.get_name().to_owned()).collect();
        noun.mut_subcommands(|verb| {
            let aliases = words::verb_aliases(verb.get_name()).into_iter().filter(|a| !verbs.iter().any(|v| v == a));
            verb.visible_aliases(aliases.collect::<Vec<_>>())
        })
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use keyark_api::list::endpoints;

    use super::Tree;
    use crate::builtin;

    #[test]
    fn every_endpoint_has_words_of_its_own() {
        let tree = Tree::of(endpoints());
        let mut seen: HashSet<Vec<&str>> =
            builtin::commands().into_iter().map(|(words, _)| words.split(' ').collect()).collect();
        for verb in tree.verbs() {
            assert!(verb.words.len() >= 2 && verb.words.iter().all(|w| !w.is_empty()), "{}", verb.name());
            assert!(seen.insert(verb.words.clone()), "{} means two things", verb.name());
        }
    }

    #[test]
    fn every_property_of_every_request_is_a_flag() {
        let tree = Tree::of(endpoints());
        let command = tree.command();
        for verb in tree.verbs() {
            let leaf = verb
                .words
                .iter()
                .fold(&command, |at, word| at.find_subcommand(word).unwrap_or_else(|| panic!("{}", verb.name())));
            let flags: HashSet<&str> = leaf.get_arguments().filter_map(|a| a.get_long()).collect();
            let schema = keyark_api::openapi::request_schema(&verb.endpoint);
            for wire in schema["properties"].as_object().into_iter().flatten().map(|(wire, _)| wire) {
                assert!(flags.contains(crate::words::kebab(wire).as_str()), "{}: {wire}", verb.name());
            }
            for option in ["url", "output", "yes", "user", "ca"] {
                assert!(flags.contains(option), "{} lacks --{option}", verb.name());
            }
        }
    }

    #[test]
    fn the_tree_is_free_of_contradictions() {
        Tree::of(endpoints()).command().debug_assert();
    }
}
