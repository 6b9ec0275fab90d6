//! The second half of `docs/realsyn.md`: every command with its arguments and flags, as the parser knows them.

use std::fmt::Write;

use clap::{Arg, Command, CommandFactory};
use realsyn_worker::args::Cli;

/// What comes before this is written by hand.
const MARK: &str = "<!-- From here on the worker's test `reference` writes this page from the parser. -->\n";

/// The page, with all that is behind the mark as the parser knows it.
pub fn page(current: &str) -> String {
    let by_hand = current.split_once(MARK).map_or(current, |(by_hand, _)| by_hand);
    let mut cli = Cli::command();
    cli.build();
    let commands: Vec<&Command> = cli.get_subcommands().filter(|c| c.get_name() != "help").collect();
    // What all of them take is told once.
    let everywhere = |arg: &Arg| commands.iter().all(|c| c.get_arguments().any(|other| other.get_id() == arg.get_id()));
    let shown = |command: &Command, common: bool| -> Vec<Arg> {
        let args = command.get_arguments().filter(|arg| !arg.is_hide_set() && arg.get_id() != "help");
        args.filter(|arg| everywhere(arg) == common).cloned().collect()
    };
    let mut text = format!("{by_hand}{MARK}\n## Where things are\n\nFlags of every command.\n\n");
    rows(&mut text, shown(commands[0], true));
    for command in &commands {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        _ = write!(text, "\n## realsyn {}\n\n{about}.\n", command.get_name());
        let own = shown(command, false);
        if !own.is_empty() {
            text.push('\n');
            rows(&mut text, own);
        }
    }
    text
}

fn rows(text: &mut String, args: Vec<Arg>) {
    text.push_str("| flag | does |\n|---|---|\n");
    for arg in args {
        let value = arg.get_value_names().filter(|_| arg.get_action().takes_values());
        let value = value.and_then(|names| names.first()).map(ToString::to_string).unwrap_or_default();
        let name = match (arg.get_short(), arg.get_long()) {
            (Some(short), Some(long)) => format!("-{short}, --{long} {value}"),
            (None, Some(long)) => format!("--{long} {value}"),
            (_, None) => value,
        };
        let mut about = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
        if let ([default], true) = (arg.get_default_values(), arg.get_action().takes_values()) {
            _ = write!(about, " [default: {}]", default.to_string_lossy());
        }
        _ = writeln!(text, "| `{}` | {about} |", name.trim());
    }
}
