//! The text of a secret: `peep_<environment>_<30 random characters><6 characters of checksum>`.
//!
//! The fixed form lets secret scanners find a leaked key, and its environment lets people see what they hold: `peep_production_…`.
//! It is there to be read and decides nothing: what a key may do is in the store. The checksum (CRC-32 of all that precedes it)
//! lets us refuse a typing error without asking anyone, which also keeps random noise away from the database.
//!
//! Where the environment of a key stands, sign-in links and browser sessions have words of their own, which no environment is
//! ever spelt like. Keys from before had their scope there (`ing`, `read`, `adm`); they are keys like any other.

use rand::RngExt;
use secrecy::SecretString;
use sha2::{Digest, Sha256};

/// What a secret of this form is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Key,
    /// Signs in once.
    LoginToken,
    /// A signed-in browser.
    Session,
}

impl Kind {
    fn of(word: &str) -> Result<Self, Malformed> {
        let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        match word {
            LOGIN_TOKEN => Ok(Self::LoginToken),
            SESSION => Ok(Self::Session),
            word if (1..=WORD_LENGTH_MAX).contains(&word.len()) && word.bytes().all(is_letter) => Ok(Self::Key),
            _ => Err(Malformed::Environment),
        }
    }
}

/// Why a text is no secret of ours. Says nothing about its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("it does not start with peep_")]
    Prefix,
    #[error("what stands between the first two underscores is no environment")]
    Environment,
    #[error("its length is wrong; was it cut off?")]
    Length,
    #[error("it contains other characters than letters and digits")]
    Alphabet,
    #[error("its checksum is wrong; was it copied completely?")]
    Checksum,
}

/// A new key; `env` is the environment it is bound to, if any.
pub fn new_key(env: Option<&str>) -> SecretString {
    generate(&env.map_or_else(|| ANY_ENVIRONMENT.to_owned(), spelling))
}

/// A new secret for a link that signs in once.
pub fn new_login_token() -> SecretString {
    generate(LOGIN_TOKEN)
}

/// A new secret for a signed-in browser.
pub fn new_session() -> SecretString {
    generate(SESSION)
}

/// From the operating system's randomness: 30 characters carry 178 bits.
fn generate(word: &str) -> SecretString {
    debug_assert!(Kind::of(word).is_ok(), "{word:?} reads back");
    let mut random = rand::rng();
    let mut text = format!("peep_{word}_");
    text.extend((0..RANDOM_LENGTH).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())])));
    let checksum = checksum(&text);
    text.push_str(&checksum);
    SecretString::from(text)
}

/// An environment in the letters of a key: lower case, `-` for everything that is neither letter nor digit, cut where it gets long.
/// Two environments may be spelt alike; no environment is spelt like a word that means something else.
fn spelling(env: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let spelt: String = env.chars().map(letter).skip_while(|c| *c == '-').take(SPELLING_LENGTH_MAX).collect();
    match spelt.trim_end_matches('-') {
        "" => "env".to_owned(),
        reserved if RESERVED.contains(&reserved) => format!("env-{reserved}"),
        spelt => spelt.to_owned(),
    }
}

/// What a text claims to be, when its form and checksum are right. Costs no look-up.
pub fn check(text: &str) -> Result<Kind, Malformed> {
    let (word, body) = text.strip_prefix("peep_").and_then(|rest| rest.split_once('_')).ok_or(Malformed::Prefix)?;
    let kind = Kind::of(word)?;
    if body.len() != RANDOM_LENGTH + CHECKSUM_LENGTH {
        return Err(Malformed::Length);
    }
    // Also proves that the split below falls between two characters.
    if !body.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(Malformed::Alphabet);
    }
    let (signed, found) = text.split_at(text.len() - CHECKSUM_LENGTH);
    if checksum(signed) == found { Ok(kind) } else { Err(Malformed::Checksum) }
}

/// What is stored and looked up instead of the secret.
pub fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// The parts of a secret that may be shown, for people to tell keys apart: everything up to four random characters, and the end.
pub fn shown_parts(text: &str) -> (&str, &str) {
    let body_at = text.rfind('_').map_or(0, |at| at + 1);
    (
        text.get(..body_at + SHOWN_LENGTH).unwrap_or_default(),
        text.get(text.len().saturating_sub(4)..).unwrap_or_default(),
    )
}

fn checksum(signed: &str) -> String {
    let mut rest = crc32fast::hash(signed.as_bytes());
    let mut digits = [b'0'; CHECKSUM_LENGTH];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    debug_assert_eq!(rest, 0, "six base62 digits hold every CRC-32");
    digits.iter().map(|digit| char::from(*digit)).collect()
}

/// A key that is bound to no environment.
const ANY_ENVIRONMENT: &str = "any";
const LOGIN_TOKEN: &str = "login";
const SESSION: &str = "session";
/// Words that say something else than an environment, or did once.
const RESERVED: [&str; 6] = [ANY_ENVIRONMENT, LOGIN_TOKEN, SESSION, "ing", "read", "adm"];
/// Long enough for `eu-west-1-production`, short enough for one line.
const SPELLING_LENGTH_MAX: usize = 28;
/// A spelling and `env-` in front of it.
const WORD_LENGTH_MAX: usize = 32;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const RANDOM_LENGTH: usize = 30;
const CHECKSUM_LENGTH: usize = 6;
/// 24 of 178 bits shown leaves more than anyone can try.
const SHOWN_LENGTH: usize = 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    use super::*;

    /// A text with this beginning and the checksum that belongs to it.
    fn signed(start: &str) -> String {
        format!("{start}{}", checksum(start))
    }

    #[test]
    fn a_generated_secret_is_what_it_says() {
        for (secret, kind, start) in [
            (new_key(None), Kind::Key, "peep_any_"),
            (new_key(Some("production")), Kind::Key, "peep_production_"),
            (new_login_token(), Kind::LoginToken, "peep_login_"),
            (new_session(), Kind::Session, "peep_session_"),
        ] {
            assert_eq!(check(secret.expose_secret()), Ok(kind));
            assert!(secret.expose_secret().starts_with(start));
        }
    }

    #[test]
    fn an_environment_is_spelt_so_that_people_recognise_it() {
        for (env, spelt) in [
            ("production", "production"),
            ("EU/Prod.v2", "eu-prod-v2"),
            ("snake_case", "snake-case"),
            ("--", "env"),
            ("session", "env-session"),
            ("Login.", "env-login"),
            ("any", "env-any"),
            ("a-very-long-name-of-an-environment", "a-very-long-name-of-an-envir"),
        ] {
            assert_eq!(spelling(env), spelt);
        }
    }

    #[test]
    fn the_form_is_fixed_for_scanners_and_stored_keys() {
        // Computed once with another CRC-32; changing the form would invalidate every key in use.
        assert_eq!(signed("peep_ing_000000000000000000000000000000"), "peep_ing_0000000000000000000000000000001OPosR");
        for word in ["ing", "read", "adm", "production"] {
            assert_eq!(check(&signed(&format!("peep_{word}_{}", "0".repeat(30)))), Ok(Kind::Key), "{word}");
        }
    }

    #[test]
    fn the_reason_says_what_to_look_at() {
        assert_eq!(check("Bearer x"), Err(Malformed::Prefix));
        assert_eq!(check("peep_A_x"), Err(Malformed::Environment));
        assert_eq!(check("peep__x"), Err(Malformed::Environment));
        assert_eq!(check("peep_any_x"), Err(Malformed::Length));
        assert_eq!(check(&format!("peep_any_{}", "-".repeat(36))), Err(Malformed::Alphabet));
        assert_eq!(check(&format!("peep_any_{}", "0".repeat(36))), Err(Malformed::Checksum));
    }

    #[test]
    fn shown_parts_reveal_four_characters_and_the_end() {
        let secret = new_key(Some("live"));
        let (prefix, last) = shown_parts(secret.expose_secret());
        assert_eq!((prefix.len(), last.len()), ("peep_live_".len() + 4, 4));
        assert!(secret.expose_secret().starts_with(prefix) && secret.expose_secret().ends_with(last));
    }

    proptest! {
        #[test]
        fn one_changed_character_is_always_noticed(place in 0_usize..45, with in "[0-9A-Za-z_-]") {
            let secret = new_key(None);
            let mut text = secret.expose_secret().to_owned();
            prop_assume!(text[place..=place] != with);
            text.replace_range(place..=place, &with);
            prop_assert!(check(&text).is_err());
        }

        #[test]
        fn any_text_is_judged_without_a_panic(text in "\\PC{0,80}") {
            let _ = (check(&text), shown_parts(&text));
        }

        #[test]
        fn a_body_of_other_letters_is_refused(text in "peep_any_\\PC{36}") {
            prop_assert!(check(&text).is_err());
        }

        #[test]
        fn no_environment_makes_a_key_into_anything_else(env in "\\PC{0,130}|[a-z]{1,9}|session|login|any|[-._/]{1,9}") {
            let secret = new_key(Some(&env));
            let text = secret.expose_secret();
            prop_assert_eq!(check(text), Ok(Kind::Key));
            // What scanners are told: `peep_[a-z0-9-]{1,32}_[0-9A-Za-z]{36}`.
            let (word, body) = text["peep_".len()..].split_once('_').expect("two parts");
            prop_assert!((1..=32).contains(&word.len()) && body.len() == 36 && !word.contains(|c: char| c.is_ascii_uppercase()));
        }
    }
}
