//! Passwords of real users, checked by the real libpam through the real helper.
//!
//! Each test makes a user and a service file with names of its own in `/etc`, and removes both.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use kit::lab::{command, must};
use kit::plugins::workspace_program;
use secrecy::SecretString;
use sysadmd::access::Lane;
use sysadmd::access::pam::{Pam, PamSettings, Verdict};

use crate::it::harness::{PATIENCE, until};
use crate::run;

/// By the files of this machine alone.
pub(crate) const UNIX: &str = "auth required pam_unix.so\naccount required pam_unix.so\n";
const RIGHT: &str = "right: a password";

/// A user of this machine and a PAM service, until it is dropped.
pub(crate) struct Account {
    pub(crate) user: String,
    service: PathBuf,
    pam: Pam,
}

impl Account {
    pub(crate) fn new(service: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let user = format!("sadtest{}x{number}", std::process::id());
        let path = Path::new("/etc/pam.d").join(&user);
        let helper = workspace_program("sysadmd-pam", "sysadmd-pam");
        let settings = PamSettings { helper, service: user.clone(), deadline: PATIENCE };
        let account = Self { user, service: path, pam: Pam::new(settings) };
        fs::write(&account.service, service).expect("run tests/run as root");
        let shell = "/usr/sbin/nologin";
        must("useradd", "passwd", &["--no-create-home", "--shell", shell, &account.user]);
        account.set(RIGHT);
        account
    }

    /// Makes this the user's password.
    pub(crate) fn set(&self, password: &str) {
        let mut chpasswd = command("chpasswd", "passwd").stdin(Stdio::piped()).spawn();
        let chpasswd = chpasswd.as_mut().expect("chpasswd starts");
        let mut stdin = chpasswd.stdin.take().expect("its standard input");
        writeln!(stdin, "{}:{password}", self.user).expect("it reads");
        drop(stdin);
        assert!(chpasswd.wait().expect("it ends").success(), "chpasswd failed");
    }

    async fn check(&self, user: &str, password: &str) -> Verdict {
        self.pam.check(user, &SecretString::from(password), "192.0.2.7", Lane::Known).await
    }

    /// With the right password.
    async fn login(&self) -> Verdict {
        self.check(&self.user, RIGHT).await
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        fs::remove_file(&self.service).ok();
        // Also while a test fails: nothing here may panic.
        command("userdel", "passwd").arg(&self.user).output().ok();
    }
}

#[test]
fn a_right_password_is_told_from_a_wrong_one() {
    let account = Account::new(UNIX);
    run(async {
        assert!(account.pam.is_there());
        assert_eq!(account.login().await, Verdict::Ok);
        for wrong in ["wrong", "right: a passworD", "right: a password ", "right"] {
            assert_eq!(account.check(&account.user, wrong).await, Verdict::Denied, "{wrong}");
        }
        assert_eq!(account.check("no-such-user", RIGHT).await, Verdict::Denied);
        // A user who has no password at all.
        assert_eq!(account.check("nobody", RIGHT).await, Verdict::Denied);
    });
}

#[test]
fn the_shipped_service_file_takes_the_right_password() {
    let account = Account::new(include_str!("../../packaging/pam.d/sysadmd"));
    run(async {
        assert_eq!(account.login().await, Verdict::Ok);
        assert_eq!(account.check(&account.user, "wrong").await, Verdict::Denied);
        assert_eq!(account.check("no-such-user", RIGHT).await, Verdict::Denied);
    });
}

#[test]
fn every_password_that_can_be_set_is_taken() {
    let account = Account::new(UNIX);
    let long = "0123456789abcdef".repeat(16);
    run(async {
        for password in ["a:b::c", "geheim ü 密码", "  two  blanks  ", "'\"\\$`", &long] {
            account.set(password);
            assert_eq!(account.check(&account.user, password).await, Verdict::Ok, "{password}");
            let mut wrong = password.to_owned();
            wrong.pop();
            let verdict = account.check(&account.user, &wrong).await;
            assert_eq!(verdict, Verdict::Denied, "{wrong}");
        }
    });
}

#[test]
fn an_account_without_a_password_is_closed() {
    // As some distributions have it, which would let in whoever knows the name.
    let account = Account::new("auth required pam_unix.so nullok\naccount required pam_unix.so\n");
    must("passwd", "passwd", &["--quiet", "--delete", &account.user]);
    run(async {
        for password in ["", "x"] {
            assert_eq!(account.check(&account.user, password).await, Verdict::Denied);
        }
    });
}

#[test]
fn what_has_expired_is_said_only_to_who_knows_the_password() {
    let account = Account::new(UNIX);
    let user = account.user.as_str();
    let change = |args: &[&str]| must(args[0], "passwd", &[&args[1..], &[user]].concat());
    run(async {
        change(&["chage", "--expiredate", "1"]);
        let expired = Verdict::Expired("the account has expired".to_owned());
        assert_eq!(account.login().await, expired);
        assert_eq!(account.check(user, "wrong").await, Verdict::Denied);
        change(&["chage", "--expiredate", "-1"]);
        change(&["chage", "--lastday", "0"]);
        let verdict = account.login().await;
        let Verdict::Expired(sentence) = &verdict else { panic!("{verdict:?}") };
        assert!(sentence.contains("change it with passwd"), "{sentence}");
        change(&["chage", "--lastday", "20000"]);
        assert_eq!(account.login().await, Verdict::Ok);
        change(&["usermod", "--lock"]);
        assert_eq!(account.login().await, Verdict::Denied, "a locked password fits nobody");
    });
}

#[test]
fn a_service_that_is_not_configured_lets_nobody_in() {
    let account = Account::new(UNIX);
    run(async {
        fs::remove_file(&account.service).expect("the service file");
        let verdict = account.login().await;
        let Verdict::Unavailable(cause) = &verdict else { panic!("{verdict:?}") };
        assert!(
            cause.contains(&format!("there is no file /etc/pam.d/{}", account.user)),
            "{cause}"
        );
        fs::write(&account.service, "auth required pam_not_there.so\n").expect("root");
        let verdict = account.login().await;
        assert!(matches!(verdict, Verdict::Unavailable(_)), "{verdict:?}");
    });
}

#[test]
fn the_delay_after_a_failure_is_ours_alone() {
    // Two minutes: the check would run into its deadline.
    let account = Account::new(&format!("auth optional pam_faildelay.so delay=120000000\n{UNIX}"));
    run(async {
        assert_eq!(account.check(&account.user, "wrong").await, Verdict::Denied);
    });
}

#[test]
fn a_password_is_in_no_command_line_and_no_environment() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name).display().to_string();
    // A module that stops everything once the password has been checked, a minute at most.
    let wait =
        "i=0; : >\"$1\"; until [ -e \"$2\" ] || [ $i = 1200 ]; do i=$((i+1)); sleep 0.05; done";
    fs::write(dir.path().join("wait"), wait).expect("a script");
    let (script, reached, go) = (at("wait"), at("reached"), at("go"));
    let stop = format!("auth required pam_exec.so quiet /bin/sh {script} {reached} {go}\n");
    let account = Account::new(&format!("auth required pam_unix.so\n{stop}{UNIX}"));
    let canary = format!("canary-{}", account.user);
    account.set(&canary);
    run(async {
        let look = async {
            until("the module runs", async || Path::new(&reached).exists()).await;
            let seen = processes();
            fs::write(&go, "").expect("the module goes on");
            seen
        };
        let (verdict, seen) = tokio::join!(account.check(&account.user, &canary), look);
        assert_eq!(verdict, Verdict::Ok);
        let with = |text: &str| seen.iter().filter(|it| contains(&it.said, text)).count();
        assert_eq!(with(&canary), 0, "the password can be read by others");
        assert!(with(&script) > 0 && with("PAM_USER=") > 0, "the module was not seen");
        let helpers = seen.iter().filter(|it| contains(&it.said, "/sysadmd-pam\0"));
        let cores: Vec<&str> = helpers.map(|it| it.cores.as_str()).collect();
        assert!(cores.contains(&"0 0"), "a helper that could leave a core: {cores:?}");
    });
}

/// A process, as others see it.
struct Seen {
    /// Its command line and its environment.
    said: Vec<u8>,
    /// The soft and the hard limit for the size of its core.
    cores: String,
}

fn processes() -> Vec<Seen> {
    let dirs = fs::read_dir("/proc").expect("/proc").flatten().map(|entry| entry.path());
    let read = |dir: &Path, file: &str| fs::read(dir.join(file)).unwrap_or_default();
    dirs.map(|dir| {
        let said = [read(&dir, "cmdline"), read(&dir, "environ")].concat();
        let limits = String::from_utf8_lossy(&read(&dir, "limits")).into_owned();
        let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size"));
        let words: Vec<&str> = line.unwrap_or_default().split_whitespace().take(2).collect();
        Seen { said, cores: words.join(" ") }
    })
    .collect()
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
