//! Against a stand-in that does what its user name says; `tests/real` has libpam.

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::sleep;

use super::*;

/// Much longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn pam_with(helper: &str, deadline: Duration) -> Pam {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/access/pam");
    Pam::new(PamSettings { helper: dir.join(helper), service: "sysadmd".to_owned(), deadline })
}

fn pam() -> Pam {
    pam_with("fake-helper", PATIENCE)
}

fn secret(password: &str) -> SecretString {
    SecretString::from(password)
}

async fn asked(pam: &Pam, user: &str) -> Verdict {
    pam.check(user, &secret("p"), "192.0.2.7", Lane::Unknown).await
}

/// The cause, or what else came.
async fn cause(user: &str) -> String {
    match asked(&pam(), user).await {
        Verdict::Unavailable(cause) => cause,
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn the_helpers_word_is_handed_on() {
    assert_eq!(asked(&pam(), "ok").await, Verdict::Ok);
    assert_eq!(asked(&pam(), "denied").await, Verdict::Denied);
    let sentence = "the account has expired".to_owned();
    assert_eq!(asked(&pam(), "expired").await, Verdict::Expired(sentence));
    assert_eq!(cause("unavailable").await, "no such service");
}

#[tokio::test]
async fn a_helper_that_misbehaves_lets_nobody_in() {
    for user in ["future", "nameless", "garbage", "silent", "huge"] {
        let cause = cause(user).await;
        let refused = cause.contains("not understood") || cause.contains("failed");
        assert!(refused, "{user}: {cause}");
    }
    assert!(cause("liar").await.contains("exit status: 3"));
    assert!(cause("dies").await.contains("signal: 9"));
    assert!(cause("lost").await.contains("libpam.so.0"));
}

#[tokio::test]
async fn output_without_end_is_not_read() {
    let verdict = asked(&pam(), "endless").await;
    assert!(matches!(verdict, Verdict::Unavailable(_)), "{verdict:?}");
}

#[tokio::test]
async fn a_long_sentence_is_cut_and_has_no_control_characters() {
    let Verdict::Expired(sentence) = asked(&pam(), "long").await else { panic!("not expired") };
    assert_eq!(sentence, "y".repeat(300));
}

#[tokio::test]
async fn the_helper_gets_each_field_and_an_empty_environment() {
    let verdict = pam().check("echo", &secret("a:b ü'$x "), "fe80::1%eth0", Lane::Known).await;
    assert_eq!(verdict, Verdict::Expired("sysadmd|echo|a:b ü'$x |fe80::1%eth0|".to_owned()));
    assert_eq!(asked(&pam(), "env").await, Verdict::Expired("[]".to_owned()));
}

#[tokio::test]
async fn a_helper_that_hangs_is_ended_with_all_it_started() {
    let pam = pam_with("fake-helper", Duration::from_millis(300));
    let mark = format!("600.{}1", std::process::id());
    let verdict = asked(&pam, &format!("hangs.{}1", std::process::id())).await;
    assert_eq!(verdict, Verdict::Unavailable("the helper gave no answer within 0.3 s".to_owned()));
    until(|| sleepers(&mark) == 0).await;
}

#[tokio::test]
async fn a_caller_that_gives_up_ends_the_helper() {
    let pam = pam();
    let mark = format!("600.{}2", std::process::id());
    {
        let user = format!("hangs.{}2", std::process::id());
        let password = secret("p");
        let check = pam.check(&user, &password, "", Lane::Known);
        tokio::select! {
            verdict = check => panic!("{verdict:?}"),
            () = until(|| sleepers(&mark) == 2) => {}
        }
    }
    until(|| sleepers(&mark) == 0).await;
}

#[tokio::test]
async fn strangers_do_not_keep_the_known_waiting() {
    let pam = pam();
    let user = format!("hangs.{}3", std::process::id());
    let password = secret("p");
    // 2 run and 16 wait.
    let strangers = (0..18).map(|_| pam.check(&user, &password, "", Lane::Unknown));
    let known = async {
        until(|| pam.0.unknown.places.available_permits() == 0).await;
        assert_eq!(asked(&pam, "ok").await, Verdict::Busy);
        pam.check("ok", &password, "", Lane::Known).await
    };
    tokio::select! {
        _ = join_all(strangers) => panic!("the strangers were answered"),
        verdict = known => assert_eq!(verdict, Verdict::Ok),
    }
    // They have gone, and their places are free.
    assert_eq!(asked(&pam, "ok").await, Verdict::Ok);
}

#[tokio::test]
async fn whoever_waits_too_long_hears_that_it_is_busy() {
    let pam = pam_with("fake-helper", Duration::from_millis(300));
    let _turns = pam.0.unknown.turns.acquire_many(2).await.unwrap();
    assert_eq!(asked(&pam, "ok").await, Verdict::Busy);
}

#[tokio::test]
async fn what_cannot_be_right_is_denied_without_a_process() {
    // Would be unavailable if it was started.
    let nowhere = pam_with("not-there", PATIENCE);
    let long = "a".repeat(33);
    let users =
        ["", "-x", "a b", "a\0", "a\n", "a/b", "../a", "a:b", "ü", "$", "a$b", "1a", "a|b", &long];
    let verdicts = join_all(users.iter().map(|user| asked(&nowhere, user))).await;
    assert_eq!(verdicts, vec![Verdict::Denied; users.len()]);
    let passwords = ["", "a\0b", &"p".repeat(512)].map(secret);
    let check = |password| nowhere.check("ada", password, "", Lane::Known);
    let verdicts = join_all(passwords.iter().map(check)).await;
    assert_eq!(verdicts, vec![Verdict::Denied; passwords.len()]);
    for user in ["root", "_apt", "Ada.L", "host$", "a-b_c.9", &"a".repeat(32)] {
        assert!(is_user_name(user), "{user}");
    }
}

#[tokio::test]
async fn every_denial_takes_its_time() {
    let begun = Instant::now();
    let pam = pam();
    let verdicts = tokio::join!(asked(&pam, "denied"), asked(&pam, "-x"));
    assert_eq!(verdicts, (Verdict::Denied, Verdict::Denied));
    assert!(begun.elapsed() >= DENIED_AFTER);
}

#[test]
fn a_denial_takes_as_long_as_the_slowest_check_of_late() {
    let pam = pam();
    let begun = Instant::now();
    let took = |millis, second| {
        let now = begun + Duration::from_secs(second);
        pam.0.slowest.lock().unwrap().note(Duration::from_millis(millis), now);
        pam.denied_after()
    };
    assert_eq!(pam.denied_after(), DENIED_AFTER);
    assert_eq!(took(100, 1), DENIED_AFTER, "an idle machine");
    assert_eq!(took(800, 2), Duration::from_millis(1_200));
    assert_eq!(took(100, 3), Duration::from_millis(1_200), "whoever is asked about");
    assert_eq!(took(20_000, 4), DENIED_AFTER_MAX);
    assert_eq!(took(100, 3_605), DENIED_AFTER, "an hour later");
}

#[tokio::test]
async fn a_helper_that_is_not_there_is_said_to_be_missing() {
    assert!(pam().is_there());
    for helper in ["not-there", "tests.rs", ""] {
        assert!(!pam_with(helper, PATIENCE).is_there(), "{helper}");
    }
    let verdict = asked(&pam_with("not-there", PATIENCE), "ok").await;
    let Verdict::Unavailable(cause) = verdict else { panic!("{verdict:?}") };
    assert!(cause.contains("not-there cannot be started"), "{cause}");
}

async fn until(so: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if so() {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain");
}

/// How many `sleep` processes sleep this long.
fn sleepers(seconds: &str) -> usize {
    let wanted = format!("sleep\0{seconds}\0");
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|it| std::fs::read(it.path().join("cmdline")).ok());
    lines.filter(|line| line == wanted.as_bytes()).count()
}
