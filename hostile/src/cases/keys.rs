//! Guessed keys and invented series.

use std::time::{Duration, Instant};

use peep_chassis::ExposeSecret;
use peep_chassis::keys::{KeyError, KeyStore, format};
use tokio::task::yield_now;

use crate::cases::{Case, case};
use crate::meter::{Meter, mebibytes};
use crate::scene::Scene;
use crate::talk::{self, Until};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("H07a", "a million guessed keys, shown to the check itself", "< 5 us each, memory flat", |scene| {
            Box::pin(check_alone(scene))
        }),
        case("H07b", "guessed keys over the socket", "401 or 503, the honest client is served, memory flat", |scene| {
            Box::pin(over_the_socket(scene))
        }),
    ]
}

/// Half of them are no keys at all, a quarter has a wrong checksum, a quarter is well formed and unknown.
fn guesses(count: usize) -> Vec<String> {
    let guess = |number: usize| {
        let key = format::new_key(None).expose_secret().to_owned();
        match number % 4 {
            0 => key,
            1 => key[..key.len() - 1].to_owned() + if key.ends_with('0') { "1" } else { "0" },
            2 => format!("peep_{number}"),
            _ => key.replace("peep", "keep"),
        }
    };
    (0..count).map(guess).collect()
}

async fn check_alone(scene: &mut Scene) -> anyhow::Result<()> {
    // In this process, so that nothing but the check is measured; its keys are those of no database.
    let store = KeyStore::fixed([]);
    let meter = Meter::of(std::process::id());
    let (mut spent, mut unknown) = (Duration::ZERO, 0_u64);
    let mut resident_before = 0;
    for round in 0..ROUNDS {
        let guesses = guesses(GUESSES);
        if round == 1 {
            resident_before = meter.resident_bytes()?;
        }
        let started = Instant::now();
        for guess in &guesses {
            match store.check(guess).await {
                Err(KeyError::Unknown) => unknown += 1,
                Err(_) => {}
                Ok(_) => scene.expect(false, "a guessed key was taken"),
            }
        }
        spent += started.elapsed();
        drop(guesses);
        yield_now().await;
    }
    let guessed = ROUNDS * GUESSES;
    let each = spent.as_secs_f64() * 1e6 / guessed as f64;
    let grown = meter.resident_bytes()?.saturating_sub(resident_before);
    let build = if cfg!(debug_assertions) { "debug build" } else { "release build" };
    scene.note(format!(
        "{guessed} guesses, {unknown} of them well formed, {each:.2} us each ({build}), +{}",
        mebibytes(grown)
    ));
    scene.expect(unknown as usize == guessed / 4, format!("{unknown} well-formed keys were unknown"));
    // What is not optimised takes several times as long and says nothing about the figure.
    let each_max = if cfg!(debug_assertions) { 100.0 } else { 5.0 };
    scene.expect(each < each_max, format!("{each:.2} us for each guess"));
    scene.expect(grown < 8 << 20, format!("memory grew by {}", mebibytes(grown)));
    Ok(())
}

async fn over_the_socket(scene: &mut Scene) -> anyhow::Result<()> {
    let (address, body) = (scene.address.clone(), "{\"service\":\"guessed\"}");
    let requests: Vec<String> = guesses(3_000)
        .iter()
        .map(|key| {
            let length = body.len();
            format!("POST /v1/events HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {key}\r\nContent-Length: {length}\r\n\r\n{body}")
        })
        .collect();
    let attack = async {
        let mut statuses = std::collections::BTreeMap::<u16, u64>::new();
        let clients = requests.chunks(requests.len() / 100).map(|requests| {
            let address = &address;
            async move {
                let all = requests.concat();
                talk::talk(address, all.as_bytes(), Until::replies(requests.len())).await
            }
        });
        for exchange in futures_util::future::join_all(clients).await {
            for status in exchange?.statuses() {
                *statuses.entry(status).or_default() += 1;
            }
        }
        anyhow::Ok(statuses)
    };
    let (statuses, cost) = scene.beside_honest(attack).await?;
    let statuses = statuses?;
    scene.note(format!("{statuses:?}"));
    scene.expect(statuses.keys().all(|status| matches!(status, 401 | 503)), format!("answered {statuses:?}"));
    scene.expect(statuses.values().sum::<u64>() == requests.len() as u64, "answers are missing");
    scene.judge_cost(&cost, 16 << 20);
    Ok(())
}

const ROUNDS: usize = 10;
const GUESSES: usize = 100_000;
