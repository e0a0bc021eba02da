//! The text of a secret: `peep_<tag>_<30 random characters><6 characters of checksum>`, all base62.
//!
//! The fixed prefix lets secret scanners find a leaked key and people see what they hold; the checksum (CRC-32 of all that precedes it)
//! lets us refuse a typing error without asking anyone, which also keeps random noise away from the database.

use rand::RngExt;
use secrecy::SecretString;
use sha2::{Digest, Sha256};

use super::Scope;

/// What a secret of this form is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Key(Scope),
    /// Signs in once.
    LoginToken,
    /// A signed-in browser.
    Session,
}

impl Kind {
    const ALL: [Self; 5] =
        [Self::Key(Scope::Ingest), Self::Key(Scope::Read), Self::Key(Scope::Admin), Self::LoginToken, Self::Session];

    fn tag(self) -> &'static str {
        match self {
            Self::Key(Scope::Ingest) => "ing",
            Self::Key(Scope::Read) => "read",
            Self::Key(Scope::Admin) => "adm",
            Self::LoginToken => "login",
            Self::Session => "session",
        }
    }
}

/// Why a text is no secret of ours. Says nothing about its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("it does not start with peep_")]
    Prefix,
    #[error("its kind is unknown")]
    Kind,
    #[error("its length is wrong; was it cut off?")]
    Length,
    #[error("it contains other characters than letters and digits")]
    Alphabet,
    #[error("its checksum is wrong; was it copied completely?")]
    Checksum,
}

/// A new secret from the operating system's randomness: 30 characters carry 178 bits.
pub fn generate(kind: Kind) -> SecretString {
    let mut random = rand::rng();
    let mut text = format!("peep_{}_", kind.tag());
    text.extend((0..RANDOM_LENGTH).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())])));
    let checksum = checksum(&text);
    text.push_str(&checksum);
    SecretString::from(text)
}

/// What a text claims to be, when its form and checksum are right. Costs no look-up.
pub fn check(text: &str) -> Result<Kind, Malformed> {
    let (tag, body) = text.strip_prefix("peep_").and_then(|rest| rest.split_once('_')).ok_or(Malformed::Prefix)?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.tag() == tag).ok_or(Malformed::Kind)?;
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

    #[test]
    fn a_generated_secret_is_what_it_says() {
        for kind in Kind::ALL {
            let secret = generate(kind);
            assert_eq!(check(secret.expose_secret()), Ok(kind));
        }
    }

    #[test]
    fn the_form_is_fixed_for_scanners_and_stored_keys() {
        // Computed once with another CRC-32; changing the form would invalidate every key in use.
        let text = "peep_ing_000000000000000000000000000000";
        let text = format!("{text}{}", checksum(text));
        assert_eq!(check(&text), Ok(Kind::Key(Scope::Ingest)));
        assert_eq!(text, "peep_ing_0000000000000000000000000000001OPosR");
    }

    #[test]
    fn the_reason_says_what_to_look_at() {
        assert_eq!(check("Bearer x"), Err(Malformed::Prefix));
        assert_eq!(check("peep_abc_x"), Err(Malformed::Kind));
        assert_eq!(check("peep_ing_x"), Err(Malformed::Length));
        assert_eq!(check(&format!("peep_ing_{}", "-".repeat(36))), Err(Malformed::Alphabet));
        assert_eq!(check(&format!("peep_ing_{}", "0".repeat(36))), Err(Malformed::Checksum));
    }

    #[test]
    fn shown_parts_reveal_four_characters_and_the_end() {
        let secret = generate(Kind::Key(Scope::Read));
        let (prefix, last) = shown_parts(secret.expose_secret());
        assert_eq!((prefix.len(), last.len()), ("peep_read_".len() + 4, 4));
        assert!(secret.expose_secret().starts_with(prefix) && secret.expose_secret().ends_with(last));
    }

    proptest! {
        #[test]
        fn one_changed_character_is_always_noticed(place in 0_usize..45, with in "[0-9A-Za-z_-]") {
            let secret = generate(Kind::Key(Scope::Ingest));
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
        fn a_body_of_other_letters_is_refused(text in "peep_ing_\\PC{36}") {
            prop_assert!(check(&text).is_err());
        }
    }
}
