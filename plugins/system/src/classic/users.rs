//! `sysadm/users`: accounts, by the distribution's own tools.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::unistd::{Gid, Group as KnownGroup, Uid, User as KnownUser};
use sdk::{Context, Fault, FaultKind, Level, Request, Role, Value, json};
use serde_json::Map;

use super::filesystem::Known;
use super::{action, text, texts, unknown_action};
use crate::parse::tools::{groups, users};
use crate::tool;

/// The actions that change something.
pub(crate) const CHANGES: [&str; 6] =
    ["useradd", "userdelete", "usermod", "groupadd", "groupdelete", "groupmod"];

const USERADD: &str = "/usr/sbin/useradd";
const USERMOD: &str = "/usr/sbin/usermod";
const USERDEL: &str = "/usr/sbin/userdel";
const GROUPADD: &str = "/usr/sbin/groupadd";
const GROUPDEL: &str = "/usr/sbin/groupdel";
const GPASSWD: &str = "/usr/bin/gpasswd";
const CHPASSWD: &str = "/usr/sbin/chpasswd";
const TOOLS: [&str; 7] = [USERADD, USERMOD, USERDEL, GROUPADD, GROUPDEL, GPASSWD, CHPASSWD];
const GETENT: &str = "/usr/bin/getent";
const TOOL_TIME: Duration = Duration::from_secs(25);
/// Accounts below this number are the system's own (login.defs(5), as all distributions have it).
const FIRST_PERSON: u32 = 1000;
/// Nobody's account.
const NOBODY: u32 = 65534;

/// The tools lock the files and refuse when they are locked; so one after the other.
static TURN: Mutex<()> = Mutex::new(());

/// The first of the tools that this machine does not have.
pub(crate) fn missing_tool() -> Option<&'static str> {
    TOOLS.into_iter().find(|tool| !Path::new(tool).exists())
}

/// Names of numbers, each looked up once.
#[derive(Default)]
pub(crate) struct Names {
    users: Known,
    groups: Known,
}

impl Names {
    /// The user's name, or the number where there is none.
    pub(crate) fn user(&mut self, uid: u32) -> String {
        let look_up = || KnownUser::from_uid(Uid::from_raw(uid)).ok().flatten().map(|it| it.name);
        self.users.entry(uid).or_insert_with(|| look_up().unwrap_or(uid.to_string())).clone()
    }

    /// The group's name, or the number where there is none.
    pub(crate) fn group(&mut self, gid: u32) -> String {
        let look_up = || KnownGroup::from_gid(Gid::from_raw(gid)).ok().flatten().map(|it| it.name);
        self.groups.entry(gid).or_insert_with(|| look_up().unwrap_or(gid.to_string())).clone()
    }
}

pub(crate) fn answer(ctx: &Context, request: &Request) -> Result<Value, Fault> {
    let args = &request.args;
    let action = action(request);
    let change = match action.as_str() {
        "usershow" => return show_users(ctx),
        "groupshow" => return show_groups(),
        "useradd" => add,
        "userdelete" => delete,
        "usermod" => modify,
        "groupadd" => add_group,
        "groupdelete" => delete_group,
        "groupmod" => modify_group,
        _ => {
            let known = [&["usershow", "groupshow"], &CHANGES[..]].concat();
            return Err(unknown_action(request, &known));
        }
    };
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    change(ctx, args).map(|()| json!({ "result": "success" }))
}

fn listed(database: &str) -> Result<String, Fault> {
    let answer = tool::run(GETENT, &[database], None, TOOL_TIME);
    let good = answer.map_err(|error| error.to_string()).and_then(tool::Answer::good);
    good.map_err(|error| Fault::new(FaultKind::Failed, format!("getent {database}: {error}")))
}

/// Every account; somebody without full access sees the own one.
fn show_users(ctx: &Context) -> Result<Value, Fault> {
    let own = ctx.actor().strip_prefix("local:").or_else(|| ctx.actor().strip_prefix("user:"));
    let sees = |name: &str| ctx.role() == Role::Admin || own == Some(name);
    let known = users(&listed("passwd")?).into_iter().filter(|user| sees(&user.name));
    let rows = known.map(|user| {
        let uid: u32 = user.uid.parse().unwrap_or(0);
        let mut row = json!({
            "name": user.name, "uid": user.uid, "gid": user.gid, "class": "", "change": "0",
            "expire": "0", "comment": user.comment, "home_dir": user.home, "shell": user.shell,
        });
        if uid < FIRST_PERSON || uid == NOBODY || own == Some(&*user.name) {
            row["canremove"] = "false".into();
        }
        (user.name, row)
    });
    Ok(rows.collect::<Map<_, _>>().into())
}

fn show_groups() -> Result<Value, Fault> {
    let rows = groups(&listed("group")?).into_iter().map(|group| {
        let row = json!({ "name": group.name, "gid": group.gid, "users": group.members });
        (group.name, row)
    });
    Ok(rows.collect::<Map<_, _>>().into())
}

/// The members that both `useradd` and `usermod` take, as arguments.
fn options(args: &Value) -> Result<Vec<String>, Fault> {
    let mut options = Vec::new();
    let mut option = |member: &str, option: &str, check: fn(&str) -> bool| {
        let Some(value) = text(args, member).filter(|value| !value.is_empty()) else {
            return Ok(());
        };
        if !check(&value) {
            return Err(wrong(member));
        }
        // In one word: a value that begins with a dash stays a value.
        options.push(format!("--{option}={value}"));
        Ok(())
    };
    option("uid", "uid", |value| value.parse::<u32>().is_ok())?;
    option("comment", "comment", is_field)?;
    option("home_dir", "home-dir", is_path)?;
    option("shell", "shell", is_path)?;
    option("expire", "expiredate", is_date)?;
    option("group", "gid", is_name)?;
    if let Some(list) = names(args, "other_groups")? {
        options.push(format!("--groups={}", list.join(",")));
    }
    Ok(options)
}

fn add(ctx: &Context, args: &Value) -> Result<(), Fault> {
    let name = name(args, "name")?;
    let password = password(args)?.ok_or_else(|| wrong("password"))?;
    let mut words = options(args)?;
    words.extend(["--create-home".to_owned(), "--".to_owned(), name.clone()]);
    run(ctx, USERADD, &words)?;
    set_password(ctx, &name, &password).inspect_err(|_| {
        // Half an account is none.
        let undone = run(ctx, USERDEL, &["--remove".to_owned(), "--".to_owned(), name.clone()]);
        if let Err(fault) = undone {
            ctx.log(
                Level::Error,
                &format!("the account {name} is left without a password: {fault}"),
            );
        }
    })
}

fn delete(ctx: &Context, args: &Value) -> Result<(), Fault> {
    let name = name(args, "name")?;
    let user = KnownUser::from_name(&name).ok().flatten();
    let user = user.ok_or_else(|| Fault::bad_request(format!("there is no user {name}")))?;
    if user.uid.is_root() {
        return Err(Fault::bad_request("root cannot be removed"));
    }
    let keeps = text(args, "clean_home").is_some_and(|text| text.eq_ignore_ascii_case("false"));
    let mut words = vec!["--".to_owned(), name.clone()];
    if !keeps {
        words.insert(0, "--remove".to_owned());
    }
    run(ctx, USERDEL, &words).or_else(|fault| {
        // It complains about a home that was not there as well; the account is gone then.
        let is_gone = matches!(KnownUser::from_name(&name), Ok(None));
        if is_gone { Ok(()) } else { Err(fault) }
    })
}

fn modify(ctx: &Context, args: &Value) -> Result<(), Fault> {
    let old = name(args, "name")?;
    let password = password(args)?;
    let mut words = options(args)?;
    let new = match text(args, "newname") {
        Some(_) => Some(name(args, "newname")?),
        None => None,
    };
    words.extend(new.as_ref().map(|new| format!("--login={new}")));
    if words.is_empty() && password.is_none() {
        return Err(Fault::bad_request("there is nothing to change in it"));
    }
    if let Some(password) = &password {
        set_password(ctx, &old, password)?;
    }
    if words.is_empty() {
        return Ok(());
    }
    words.extend(["--".to_owned(), old]);
    run(ctx, USERMOD, &words)
}

fn add_group(ctx: &Context, args: &Value) -> Result<(), Fault> {
    let name = name(args, "name")?;
    let mut words = Vec::new();
    if let Some(gid) = text(args, "gid").filter(|gid| !gid.is_empty()) {
        gid.parse::<u32>().map_err(|_| wrong("gid"))?;
        words.push(format!("--gid={gid}"));
    }
    let members = names(args, "users")?;
    words.extend(["--".to_owned(), name.clone()]);
    run(ctx, GROUPADD, &words)?;
    match members {
        Some(members) => set_members(ctx, &name, &members).inspect_err(|_| {
            drop(run(ctx, GROUPDEL, &["--".to_owned(), name.clone()]));
        }),
        None => Ok(()),
    }
}

fn delete_group(ctx: &Context, args: &Value) -> Result<(), Fault> {
    run(ctx, GROUPDEL, &["--".to_owned(), name(args, "name")?])
}

fn modify_group(ctx: &Context, args: &Value) -> Result<(), Fault> {
    let name = name(args, "name")?;
    if let Some(members) = names(args, "users")? {
        return set_members(ctx, &name, &members);
    }
    let (more, fewer) = (names(args, "add_users")?, names(args, "remove_users")?);
    if more.is_none() && fewer.is_none() {
        let expected = "expected `users`, `add_users` or `remove_users`";
        return Err(Fault::bad_request(expected));
    }
    for (option, users) in [("--add", more), ("--delete", fewer)] {
        for user in users.unwrap_or_default() {
            run(ctx, GPASSWD, &[option.to_owned(), user, name.clone()])?;
        }
    }
    Ok(())
}

fn set_members(ctx: &Context, group: &str, members: &[String]) -> Result<(), Fault> {
    run(ctx, GPASSWD, &["--members".to_owned(), members.join(","), group.to_owned()])
}

/// By standard input, which nobody else can see.
fn set_password(ctx: &Context, name: &str, password: &str) -> Result<(), Fault> {
    run_with(ctx, CHPASSWD, &[], Some(&format!("{name}:{password}\n")))
}

fn run(ctx: &Context, program: &str, words: &[String]) -> Result<(), Fault> {
    run_with(ctx, program, words, None)
}

fn run_with(
    ctx: &Context,
    program: &str,
    words: &[String],
    secret: Option<&str>,
) -> Result<(), Fault> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let answer = tool::run(program, &words, secret, TOOL_TIME).map_err(|error| {
        ctx.log(Level::Warn, &format!("{program}: {error}"));
        Fault::new(FaultKind::Failed, format!("{program} could not be run"))
    })?;
    // The tools' own sentences name the account and what is wrong with it.
    answer.good().map(|_| ()).map_err(Fault::bad_request)
}

fn password(args: &Value) -> Result<Option<String>, Fault> {
    let Some(password) = text(args, "password").filter(|it| !it.is_empty()) else {
        return Ok(None);
    };
    // A line end would begin the next account's line.
    if password.contains(['\n', '\r', '\0']) || password.len() > 512 {
        return Err(wrong("password"));
    }
    Ok(Some(password))
}

fn name(args: &Value, member: &str) -> Result<String, Fault> {
    text(args, member).filter(|name| is_name(name)).ok_or_else(|| wrong(member))
}

/// A list of names, or one text with commas between them; `None` when it is not there.
fn names(args: &Value, member: &str) -> Result<Option<Vec<String>>, Fault> {
    if args.get(member).is_none_or(Value::is_null) {
        return Ok(None);
    }
    let list = texts(args, member).ok_or_else(|| wrong(member))?;
    let parts = list.iter().flat_map(|text| text.split(',')).map(str::trim);
    let list: Vec<String> = parts.filter(|it| !it.is_empty()).map(str::to_owned).collect();
    if list.iter().all(|name| is_name(name)) { Ok(Some(list)) } else { Err(wrong(member)) }
}

fn wrong(member: &str) -> Fault {
    Fault::bad_request(format!("`{member}` is missing or not what it should be"))
}

/// A name of an account or group, or a number: what the tools take, and never an option.
pub(crate) fn is_name(text: &str) -> bool {
    let is_first = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_other = |c: char| is_first(c) || c == '-' || c == '.';
    let body = text.strip_suffix('$').unwrap_or(text);
    (1..=32).contains(&text.len()) && body.starts_with(is_first) && body.chars().all(is_other)
}

/// One field of passwd(5).
fn is_field(text: &str) -> bool {
    text.len() <= 512 && !text.contains([':', '\n', '\r', '\0'])
}

fn is_path(text: &str) -> bool {
    is_field(text) && text.starts_with('/')
}

/// `2026-11-26`, or days since 1970.
fn is_date(text: &str) -> bool {
    text.len() <= 10 && text.chars().all(|c| c.is_ascii_digit() || c == '-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_stay_values() {
        let args = json!({
            "uid": 4321, "comment": "--root=/ 'x' $(id)", "home_dir": "/h/a b", "shell": "/bin/sh",
            "other_groups": ["a", "b,c"], "group": "staff", "expire": "2030-01-01", "class": "x",
        });
        let expected = [
            "--uid=4321",
            "--comment=--root=/ 'x' $(id)",
            "--home-dir=/h/a b",
            "--shell=/bin/sh",
            "--expiredate=2030-01-01",
            "--gid=staff",
            "--groups=a,b,c",
        ];
        assert_eq!(options(&args).unwrap(), expected);
        for bad in [
            json!({"comment": "a:0:0"}),
            json!({"comment": "a\nroot2::0:0"}),
            json!({"home_dir": "home"}),
            json!({"shell": "/bin/sh\n"}),
            json!({"uid": "-1"}),
            json!({"group": "-x"}),
            json!({"other_groups": ["a b"]}),
            json!({"expire": "soon"}),
        ] {
            assert!(options(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_password_is_one_line() {
        assert_eq!(password(&json!({"password": "a:b 'c'"})).unwrap().as_deref(), Some("a:b 'c'"));
        assert_eq!(password(&json!({})).unwrap(), None);
        assert!(password(&json!({"password": "x\nroot:y"})).is_err());
    }

    #[test]
    fn numbers_have_names() {
        let mut names = Names::default();
        assert_eq!((names.user(0), names.group(0)), ("root".to_owned(), "root".to_owned()));
        assert_eq!(names.user(3_999_999_999), "3999999999");
    }

    proptest! {
        #[test]
        fn a_name_is_never_an_option_nor_two_words(name in ".{0,40}") {
            if is_name(&name) {
                prop_assert!(!name.starts_with('-') && !name.contains([' ', ':', ',', '/', '\n']));
            }
        }
    }
}
