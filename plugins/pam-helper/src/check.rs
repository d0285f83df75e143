//! The question, put to PAM, and what its numbers mean.

use std::ffi::c_int;
use std::path::Path;

use libpam_sys::{
    PAM_ACCT_EXPIRED, PAM_AUTH_ERR, PAM_AUTHTOK_EXPIRED, PAM_CRED_EXPIRED, PAM_CRED_INSUFFICIENT,
    PAM_MAXTRIES, PAM_NEW_AUTHTOK_REQD, PAM_PERM_DENIED, PAM_SUCCESS, PAM_USER_UNKNOWN,
};

use crate::answer::Answer;
use crate::ffi::Transaction;
use crate::request::Request;

/// Where libpam looks for a service's file; the last two are the vendor's.
const SERVICE_DIRS: [&str; 3] = ["/etc/pam.d", "/usr/lib/pam.d", "/usr/etc/pam.d"];

/// Whether the password is the user's and the account may be used.
pub(crate) fn check(request: &Request<'_>) -> Answer {
    // Without the file libpam would take `other`, which lets nobody in on some systems and
    // everybody with a password on others. An administrator is to decide this.
    let service = request.service.to_string_lossy().to_ascii_lowercase();
    if !SERVICE_DIRS.iter().any(|dir| Path::new(dir).join(&service).is_file()) {
        return Answer::Unavailable(format!("there is no file /etc/pam.d/{service}"));
    }
    match ask(request) {
        Ok(answer) => answer,
        Err(cause) => Answer::Unavailable(cause),
    }
}

fn ask(request: &Request<'_>) -> Result<Answer, String> {
    let mut pam = Transaction::start(&request.service, &request.user, request.password)?;
    pam.do_not_wait_after_a_failure()?;
    if let Some(source) = &request.source {
        pam.set_remote_host(source)?;
    }
    let code = pam.authenticate();
    if code != PAM_SUCCESS {
        return match pam.refused_prompt() {
            // The password may be right; what else was asked for we cannot give.
            Some(kind) => Err(format!("the service asks for more than a password: {kind}")),
            None => unauthenticated(&pam, code),
        };
    }
    // A module may have made another user of this one, and the account is looked at for that one.
    if pam.user()? != request.user {
        return Err("the service knows the user by another name".to_owned());
    }
    let code = pam.may_use_account();
    account(&pam, code)
}

/// Before the password was found right, nothing is said but that it was not.
fn unauthenticated(pam: &Transaction<'_>, code: c_int) -> Result<Answer, String> {
    match code {
        PAM_AUTH_ERR
        | PAM_USER_UNKNOWN
        | PAM_MAXTRIES
        | PAM_PERM_DENIED
        | PAM_CRED_INSUFFICIENT
        | PAM_ACCT_EXPIRED
        | PAM_NEW_AUTHTOK_REQD
        | PAM_AUTHTOK_EXPIRED
        | PAM_CRED_EXPIRED => Ok(Answer::Denied),
        _ => Err(format!("the password cannot be checked: {}", pam.describe(code))),
    }
}

fn account(pam: &Transaction<'_>, code: c_int) -> Result<Answer, String> {
    match code {
        PAM_SUCCESS => Ok(Answer::Ok),
        PAM_ACCT_EXPIRED => Ok(Answer::Expired("the account has expired")),
        PAM_NEW_AUTHTOK_REQD | PAM_AUTHTOK_EXPIRED | PAM_CRED_EXPIRED => {
            Ok(Answer::Expired("the password has expired; change it with passwd, then log in"))
        }
        PAM_PERM_DENIED | PAM_AUTH_ERR | PAM_USER_UNKNOWN => Ok(Answer::Denied),
        _ => Err(format!("the account cannot be checked: {}", pam.describe(code))),
    }
}
