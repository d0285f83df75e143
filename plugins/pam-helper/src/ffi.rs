//! The calls to libpam, behind functions that cannot be used wrongly.

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use libpam_sys::{
    PAM_BUF_ERR, PAM_CONV_ERR, PAM_DISALLOW_NULL_AUTHTOK, PAM_ERROR_MSG, PAM_FAIL_DELAY,
    PAM_MAX_NUM_MSG, PAM_PROMPT_ECHO_OFF, PAM_PROMPT_ECHO_ON, PAM_RHOST, PAM_SILENT, PAM_SUCCESS,
    PAM_TEXT_INFO, PAM_USER, pam_acct_mgmt, pam_authenticate, pam_conv, pam_end, pam_get_item,
    pam_handle, pam_message, pam_response, pam_set_item, pam_start, pam_strerror,
};
use nix::libc::{calloc, free, strdup};
use zeroize::Zeroize as _;

/// No account without a password is let in, and modules print nothing.
const FLAGS: c_int = PAM_DISALLOW_NULL_AUTHTOK | PAM_SILENT;

/// One conversation with PAM about one user. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Transaction<'p> {
    handle: NonNull<pam_handle>,
    /// What PAM passes to [`converse`]: ours again when the transaction has ended.
    talk: *mut Talk,
    /// What the last call said; modules are told at the end.
    last: c_int,
    password: PhantomData<&'p CStr>,
}

/// What [`converse`] knows.
#[derive(Debug)]
struct Talk {
    /// Lives at least as long as the transaction.
    password: *const c_char,
    is_told: bool,
    /// The kind of the first prompt that was not answered.
    refused: Option<c_int>,
}

impl<'p> Transaction<'p> {
    /// Begins. The password is told to the first that asks for one.
    pub(crate) fn start(service: &CStr, user: &CStr, password: &'p CStr) -> Result<Self, String> {
        let talk = Talk { password: password.as_ptr(), is_told: false, refused: None };
        let talk = Box::into_raw(Box::new(talk));
        let mut conversation = pam_conv { conv: converse, appdata_ptr: talk.cast() };
        let mut handle = ptr::null_mut();
        // SAFETY: the texts end with NUL and are copied; Linux-PAM copies `conversation` too;
        // `handle` is written to. `talk` lives until `drop`, after `pam_end`.
        let code = unsafe {
            pam_start(service.as_ptr(), user.as_ptr(), &raw mut conversation, &raw mut handle)
        };
        match NonNull::new(handle) {
            Some(handle) if code == PAM_SUCCESS => {
                Ok(Self { handle, talk, last: code, password: PhantomData })
            }
            _ => {
                // SAFETY: it came from `Box::into_raw` above, and no transaction holds it.
                drop(unsafe { Box::from_raw(talk) });
                Err(format!("PAM does not start: {}", describe(ptr::null(), code)))
            }
        }
    }

    /// The daemon has penalties of its own; libpam's 2 s would hold a place in its queue.
    pub(crate) fn do_not_wait_after_a_failure(&mut self) -> Result<(), String> {
        let no_delay: extern "C" fn(c_int, c_uint, *mut c_void) = no_delay;
        self.set(PAM_FAIL_DELAY, no_delay as *const c_void)
    }

    /// Where whoever asks is; `pam_access` looks at it, and it stands in the system's log. The user
    /// over there (`PAM_RUSER`) is not known and not set.
    pub(crate) fn set_remote_host(&mut self, source: &CStr) -> Result<(), String> {
        self.set(PAM_RHOST, source.as_ptr().cast())
    }

    fn set(&mut self, item: c_int, value: *const c_void) -> Result<(), String> {
        // SAFETY: the handle is open. Texts are copied; the function lives as long as the program.
        self.last = unsafe { pam_set_item(self.handle.as_ptr(), item, value) };
        match self.last {
            PAM_SUCCESS => Ok(()),
            code => Err(format!("PAM does not take item {item}: {}", self.describe(code))),
        }
    }

    /// Whether the password is the user's: one of PAM's numbers.
    pub(crate) fn authenticate(&mut self) -> c_int {
        // SAFETY: the handle is open, and what `converse` uses lives as long as it.
        self.last = unsafe { pam_authenticate(self.handle.as_ptr(), FLAGS) };
        self.last
    }

    /// Whether the account may be used for this now: one of PAM's numbers.
    pub(crate) fn may_use_account(&mut self) -> c_int {
        // SAFETY: as above.
        self.last = unsafe { pam_acct_mgmt(self.handle.as_ptr(), FLAGS) };
        self.last
    }

    /// The user as PAM knows them by now.
    pub(crate) fn user(&self) -> Result<CString, String> {
        let mut user = ptr::null();
        // SAFETY: the handle is open, and `user` is written to.
        let code = unsafe { pam_get_item(self.handle.as_ptr(), PAM_USER, &raw mut user) };
        if code != PAM_SUCCESS || user.is_null() {
            return Err("PAM has forgotten the user".to_owned());
        }
        // SAFETY: this item is a text that ends with NUL; it is copied before the next call.
        Ok(unsafe { CStr::from_ptr(user.cast()) }.to_owned())
    }

    /// What else than a password was asked for, if anything was.
    pub(crate) fn refused_prompt(&self) -> Option<&'static str> {
        // SAFETY: it lives until `drop`, and nobody writes to it outside of a call to PAM.
        let style = unsafe { (*self.talk).refused }?;
        Some(match style {
            PAM_PROMPT_ECHO_OFF => "a second secret",
            PAM_PROMPT_ECHO_ON => "a visible text",
            _ => "something that is no text",
        })
    }

    /// One of PAM's numbers, for the log.
    pub(crate) fn describe(&self, code: c_int) -> String {
        describe(self.handle.as_ptr(), code)
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // SAFETY: the handle is open and not used again; `talk` came from `Box::into_raw`, and PAM
        // calls back no more.
        unsafe {
            pam_end(self.handle.as_ptr(), self.last);
            drop(Box::from_raw(self.talk));
        }
    }
}

fn describe(handle: *const pam_handle, code: c_int) -> String {
    // SAFETY: Linux-PAM does not look at the handle; the text is a constant or null.
    let text = unsafe {
        let text = pam_strerror(handle, code);
        if text.is_null() { c"" } else { CStr::from_ptr(text) }
    };
    format!("{} ({code})", text.to_string_lossy())
}

extern "C" fn no_delay(_code: c_int, _microseconds: c_uint, _talk: *mut c_void) {}

/// What modules call when they want something from the user: the password is told once, to the
/// first that asks for a secret; messages are swallowed; all else is refused.
unsafe extern "C" fn converse(
    count: c_int,
    messages: *const *const pam_message,
    answers: *mut *mut pam_response,
    talk: *mut c_void,
) -> c_int {
    let length = match usize::try_from(count) {
        Ok(length) if (1..=PAM_MAX_NUM_MSG).contains(&count) => length,
        _ => return PAM_CONV_ERR,
    };
    if messages.is_null() || answers.is_null() || talk.is_null() {
        return PAM_CONV_ERR;
    }
    // SAFETY: `talk` is what `start` has passed, and PAM calls from the thread that called it.
    let talk = unsafe { &mut *talk.cast::<Talk>() };
    // SAFETY: zeroed memory is what PAM wants answers in: `resp` null, `resp_retcode` 0.
    let made = unsafe { calloc(length, size_of::<pam_response>()) }.cast::<pam_response>();
    if made.is_null() {
        return PAM_BUF_ERR;
    }
    for place in 0..length {
        // SAFETY: Linux-PAM passes an array of `count` pointers to messages; `made` is as long.
        let (message, answer) = unsafe { (&**messages.add(place), &mut *made.add(place)) };
        let code = answer_to(message.msg_style, talk, answer);
        if code != PAM_SUCCESS {
            // SAFETY: `made` has `length` answers, and PAM has not seen them.
            unsafe { throw_away(made, length) };
            return code;
        }
    }
    // SAFETY: checked above; from here on the answers are the module's to free.
    unsafe { *answers = made };
    PAM_SUCCESS
}

fn answer_to(style: c_int, talk: &mut Talk, answer: &mut pam_response) -> c_int {
    match style {
        PAM_PROMPT_ECHO_OFF if !talk.is_told => {
            talk.is_told = true;
            // SAFETY: the password ends with NUL and lives as long as the transaction.
            answer.resp = unsafe { strdup(talk.password) };
            if answer.resp.is_null() { PAM_BUF_ERR } else { PAM_SUCCESS }
        }
        PAM_TEXT_INFO | PAM_ERROR_MSG => PAM_SUCCESS,
        _ => {
            talk.refused.get_or_insert(style);
            PAM_CONV_ERR
        }
    }
}

/// Wipes and frees answers that nobody will read.
///
/// # Safety
/// `answers` are `length` many from `calloc`, each null or a text from `strdup`.
unsafe fn throw_away(answers: *mut pam_response, length: usize) {
    for place in 0..length {
        // SAFETY: inside of the array.
        let text = unsafe { (*answers.add(place)).resp };
        if !text.is_null() {
            // SAFETY: a text from `strdup`, with its NUL, that nobody else holds.
            unsafe {
                let length = CStr::from_ptr(text).count_bytes();
                std::slice::from_raw_parts_mut(text.cast::<u8>(), length).zeroize();
                free(text.cast());
            }
        }
    }
    // SAFETY: from `calloc`.
    unsafe { free(answers.cast()) };
}

#[cfg(test)]
mod tests;
