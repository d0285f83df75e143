//! `sysadmctl.md` and `sysadmd.md`: what `--help` says.

use clap::Command;

pub(super) fn sysadmctl() -> String {
    const HEAD: &str = "\
# sysadmctl

What `--help` says of each command; [the guide](../guide/sysadmctl.md) shows them at work.
The connection's options and `--json` may stand behind every command and are shown once.
";
    format!("{HEAD}{}", all(sysadmd::cli::command))
}

pub(super) fn sysadmd() -> String {
    const HEAD: &str = "\
# sysadmd

What `--help` says; [configuration](config.md) has the rest.
";
    format!("{HEAD}{}", all(sysadmd::daemon::command))
}

/// The program's help, then that of its commands.
fn all(program: fn() -> Command) -> String {
    let command = program();
    let mut path = vec![command.get_name().to_owned()];
    let mut text = section(command, &path);
    let bare = program().mut_args(|arg| if arg.is_global_set() { arg.hide(true) } else { arg });
    below(&bare, &bare, &mut path, &mut text);
    text
}

fn below(program: &Command, command: &Command, path: &mut Vec<String>, text: &mut String) {
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        path.push(inner.get_name().to_owned());
        *text += &section(program.clone(), path);
        below(program, inner, path, text);
        path.pop();
    }
}

fn section(program: Command, path: &[String]) -> String {
    let words = path.iter().map(String::as_str).chain(["--help"]);
    let help = program.try_get_matches_from(words).expect_err("help is not a command").to_string();
    let lines: Vec<&str> = help.trim_end().lines().map(str::trim_end).collect();
    format!("\n## {}\n\n```text\n{}\n```\n", path.join(" "), lines.join("\n"))
}
