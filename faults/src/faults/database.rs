//! Postgres: connections cut while they commit, backends that are ended, crashes, and a full disk.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use peep_testkit::chaos::Cut;
use tokio::time::sleep;

use super::{Fault, fault};
use crate::scene::Scene;
use crate::world::Shape;

pub(super) fn faults() -> Vec<Fault> {
    let door = Shape { database_door: true, ..Shape::default() };
    let small_disk = Shape { small_disk: true, ..Shape::default() };
    vec![
        Fault {
            shape: door,
            ..fault("F19", "rollups cut off from Postgres while they commit", |scene| Box::pin(cut_commits(scene)))
        },
        fault("F23", "pg_terminate_backend of everybody, five times a second", |scene| Box::pin(end_backends(scene))),
        fault("F24", "Postgres stopped at once and killed, with synchronous commit and without", |scene| {
            Box::pin(crash_postgres(scene))
        }),
        Fault { shape: small_disk, ..fault("F28", "Postgres with a full disk", |scene| Box::pin(fill_disk(scene))) },
    ]
}

/// Before the COMMIT arrives, behind it, and at its answer.
async fn cut_commits(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let wanted = u64::from(scene.scaled(100));
    scene.pace(Duration::from_millis(400) * wanted as u32).await;
    let door = scene.site.database_door().await;
    let before = door.cuts();
    door.cut(Cut { word: "commit", one_in: 3 });
    let deadline = Instant::now() + Duration::from_secs(120);
    while door.cuts() - before < wanted {
        anyhow::ensure!(Instant::now() < deadline, "only {} of {wanted} commits were cut", door.cuts() - before);
        sleep(Duration::from_millis(50)).await;
    }
    let cuts = door.cuts() - before;
    door.heal();
    scene.note(format!("{cuts} commits cut"));
    Ok(())
}

async fn end_backends(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let span = if scene.is_short() { Duration::from_secs(10) } else { Duration::from_secs(60) };
    scene.pace(span).await;
    let started = Instant::now();
    let mut ended = 0;
    while started.elapsed() < span {
        let all = "select count(*) from (select pg_terminate_backend(pid) from pg_stat_activity
            where datname = current_database() and pid <> pg_backend_pid()) gone";
        // Its own turn may come as well: the observer's connections are among the victims.
        ended += sqlx::query_scalar::<_, i64>(all).fetch_one(&scene.world.pool).await.unwrap_or(0);
        sleep(Duration::from_millis(200)).await;
    }
    let aborted = scene.world.said().matches("current transaction is aborted").count();
    anyhow::ensure!(aborted == 0, "a connection with an aborted transaction was used {aborted} times");
    scene.note(format!("{ended} backends ended in {} s", span.as_secs()));
    Ok(())
}

async fn crash_postgres(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let crashes = scene.scaled(8);
    scene.pace(Duration::from_secs(5) * crashes * 2).await;
    let server = scene.site.server(Shape::default()).await;
    for synchronous in ["on", "off"] {
        server.set("synchronous_commit", synchronous).await;
        for number in 0..crashes {
            sleep(Duration::from_millis(scene.random.between(1_000, 3_000))).await;
            if number % 2 == 0 {
                server.kill().await;
            } else {
                server.kill_postmaster().await;
            }
            server.start_again().await;
        }
    }
    server.set("synchronous_commit", "on").await;
    check_tables(scene.world.database.url())?;
    scene.note(format!("{} crashes, pg_amcheck clean", crashes * 2));
    Ok(())
}

fn check_tables(url: &str) -> anyhow::Result<()> {
    let binary = newest_binary("pg_amcheck")?;
    let options: sqlx::postgres::PgConnectOptions = url.parse().context("parse the database's URL")?;
    let password = url.split(':').nth(2).and_then(|rest| rest.split('@').next()).unwrap_or_default();
    let output = Command::new(binary)
        .args(["--install-missing", "--host", options.get_host(), "--port", &options.get_port().to_string()])
        .args(["--username", options.get_username(), "--database", options.get_database().unwrap_or_default()])
        .env("PGPASSWORD", password)
        .output()
        .context("run pg_amcheck")?;
    anyhow::ensure!(
        output.status.success(),
        "pg_amcheck: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Debian keeps them outside of PATH, by version.
fn newest_binary(name: &str) -> anyhow::Result<String> {
    let mut places: Vec<String> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin").join(name).display().to_string())
        .filter(|path| std::path::Path::new(path).exists())
        .collect();
    places.sort();
    Ok(places.pop().unwrap_or_else(|| name.to_owned()))
}

/// Whoever runs Postgres starts it again when it stops for want of space; everything else mends itself.
async fn fill_disk(scene: &mut Scene<'_>) -> anyhow::Result<()> {
    let full = if scene.is_short() { 8 } else { 25 };
    scene.pace(Duration::from_secs(full + 12)).await;
    sleep(Duration::from_secs(4)).await;
    let server = scene.site.server(Shape { small_disk: true, ..Shape::default() }).await;
    server.fill_volume(0);
    sleep(Duration::from_secs(full)).await;
    let refused = scene.world.said().matches("No space left on device").count();
    server.empty_volume();
    let mut restarted = "Postgres stayed up";
    if !server.is_up().await {
        server.start_again().await;
        restarted = "Postgres was started again";
    }
    anyhow::ensure!(refused > 0 || restarted != "Postgres stayed up", "the disk was never full");
    scene.note(format!("full for {full} s, {restarted}"));
    Ok(())
}
