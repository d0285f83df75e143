//! What the modules hear, called as they call it.

use super::*;

/// Calls with prompts of these styles; the texts of the answers.
fn hear(talk: &mut Talk, styles: &[c_int]) -> Result<Vec<Option<String>>, c_int> {
    let message = |style: &c_int| pam_message { msg_style: *style, msg: c"?".as_ptr() };
    let messages: Vec<pam_message> = styles.iter().map(message).collect();
    let pointers: Vec<*const pam_message> = messages.iter().map(ptr::from_ref).collect();
    let mut answers = ptr::null_mut();
    let count = c_int::try_from(styles.len()).expect("few");
    let talk: *mut Talk = talk;
    // SAFETY: everything is as PAM passes it.
    let code = unsafe { converse(count, pointers.as_ptr(), &raw mut answers, talk.cast()) };
    if code != PAM_SUCCESS {
        assert!(answers.is_null(), "a refusal leaves nothing behind");
        return Err(code);
    }
    let text = |place| {
        // SAFETY: inside of the array; each is null or a text.
        let text = unsafe { (*answers.add(place)).resp };
        // SAFETY: as above.
        (!text.is_null())
            .then(|| unsafe { CStr::from_ptr(text) }.to_str().expect("UTF-8").to_owned())
    };
    let texts = (0..styles.len()).map(text).collect();
    // SAFETY: they came from `converse`, and nobody else has them.
    unsafe { throw_away(answers, styles.len()) };
    Ok(texts)
}

fn talk() -> Talk {
    Talk { password: c"geheim ü".as_ptr(), is_told: false, refused: None }
}

#[test]
fn the_password_is_told_to_the_first_who_asks() {
    let mut talk = talk();
    let told = hear(&mut talk, &[PAM_TEXT_INFO, PAM_PROMPT_ECHO_OFF, PAM_ERROR_MSG]);
    assert_eq!(told, Ok(vec![None, Some("geheim ü".to_owned()), None]));
    assert_eq!(hear(&mut talk, &[PAM_PROMPT_ECHO_OFF]), Err(PAM_CONV_ERR), "and not again");
    assert_eq!(talk.refused, Some(PAM_PROMPT_ECHO_OFF));
}

#[test]
fn all_else_is_refused() {
    for style in [PAM_PROMPT_ECHO_ON, libpam_sys::PAM_RADIO_TYPE, libpam_sys::PAM_BINARY_PROMPT] {
        let mut talk = talk();
        assert_eq!(hear(&mut talk, &[PAM_PROMPT_ECHO_OFF, style]), Err(PAM_CONV_ERR));
        assert_eq!(talk.refused, Some(style));
    }
    assert_eq!(hear(&mut talk(), &[]), Err(PAM_CONV_ERR));
    assert_eq!(hear(&mut talk(), &[PAM_TEXT_INFO; 33]), Err(PAM_CONV_ERR));
}
