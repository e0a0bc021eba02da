//! The check of the fuzz target `key`, replayed on its corpus, seeds and seeded mutations of them.

mod key;
#[path = "../../../wire/tests/fuzz/replay.rs"]
mod replay;

use peep_chassis::ExposeSecret;
use peep_chassis::keys::format;

#[test]
fn keys_and_origins() {
    let keys = [format::new_key(None), format::new_key(Some("live")), format::new_session(), format::new_login_token()];
    let mut seeds: Vec<Vec<u8>> = keys.iter().map(|key| key.expose_secret().as_bytes().to_vec()).collect();
    seeds.push(b"peep_ing_0000000000000000000000000000001OPosR".to_vec());
    let origins = ["https://shop.example", "http://localhost:3000", "https://*.shop.example:8443", "http://[::1]:80"];
    seeds.extend(origins.iter().map(|origin| origin.as_bytes().to_vec()));
    let tokens: &[&[u8]] =
        &[b"peep_", b"_", b"any", b"session", b"login", b"://", b"*.", b":443", b"[", b"]", b"null", b"."];
    replay::replay("key", &seeds, tokens, key::check);
}
