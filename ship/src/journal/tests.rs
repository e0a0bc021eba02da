use super::*;
use crate::parcel::Encoding;
use crate::position::{Identity as FileIdentity, Mark};

fn parcel(seq: u64) -> Parcel {
    let identity = Identity { producer: uuid::Uuid::from_u128(7), seq };
    Parcel { identity, events: 3, encoding: Encoding::Identity, bytes: format!("batch {seq}").into_bytes() }
}

fn position(id: u64, offset: u64) -> Position {
    let identity = FileIdentity { device: 1, inode: id, birth_ns: Some(5) };
    Position {
        id,
        path: "/log/access.log".to_owned(),
        identity,
        head: Mark::of(b"head"),
        offset,
        tail: Mark::of(b"tail"),
    }
}

fn seqs(journal: &Journal) -> Vec<u64> {
    journal.unanswered().iter().map(|parcel| parcel.identity.seq).collect()
}

#[test]
fn a_restart_finds_the_unanswered_batches_byte_for_byte_and_the_positions_behind_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path()).unwrap();
    journal.stand("/log/access.log", 17, &[position(1, 0)]).unwrap();
    journal.append(&parcel(0), &[position(1, 100)]).unwrap();
    journal.append(&parcel(1), &[position(1, 200), position(2, 50)]).unwrap();
    journal.answered(parcel(0).identity).unwrap();
    drop(journal);
    let journal = Journal::open(folder.path()).unwrap();
    assert_eq!(journal.unanswered(), [parcel(1)]);
    let state = PathState { since_ms: 17, files: vec![position(1, 200), position(2, 50)] };
    assert_eq!(journal.paths()["/log/access.log"], state);
}

#[test]
fn wherever_a_crash_tears_the_journal_a_batch_and_its_position_are_there_together_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path()).unwrap();
    for seq in 0..3 {
        journal.append(&parcel(seq), &[position(1, 100 * (seq + 1))]).unwrap();
    }
    drop(journal);
    let whole = std::fs::read(folder.path().join(NAME)).unwrap();
    for length in 0..=whole.len() {
        let (live, _) = Live::restore(&whole[..length]).unwrap();
        let offset = live.paths.get("/log/access.log").map_or(0, |state| state.files[0].offset);
        assert_eq!(offset, 100 * live.unanswered.len() as u64, "torn at {length}");
    }
}

#[test]
fn damage_in_the_middle_is_no_torn_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path()).unwrap();
    journal.append(&parcel(0), &[]).unwrap();
    journal.append(&parcel(1), &[]).unwrap();
    drop(journal);
    let path = folder.path().join(NAME);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[30] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let problem = format!("{:#}", Journal::open(folder.path()).err().unwrap());
    assert!(problem.contains("damaged in its middle") && problem.contains("move the file away"), "{problem}");
}

#[test]
fn the_journal_stays_small_and_keeps_what_is_alive() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path()).unwrap();
    let large = |seq| Parcel { bytes: vec![b'x'; 1 << 20], ..parcel(seq) };
    journal.append(&large(1000), &[position(1, 1)]).unwrap();
    for seq in 0..40 {
        journal.append(&large(seq), &[position(1, seq)]).unwrap();
        journal.answered(parcel(seq).identity).unwrap();
        let bytes = std::fs::metadata(folder.path().join(NAME)).unwrap().len();
        assert!(bytes < GARBAGE_BYTES_MAX + (3 << 20), "{bytes}");
    }
    drop(journal);
    let journal = Journal::open(folder.path()).unwrap();
    assert_eq!(seqs(&journal), [1000]);
    assert_eq!(journal.paths()["/log/access.log"].files[0].offset, 39);
}

#[test]
fn one_shipper_uses_a_state_folder_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path()).unwrap();
    let problem = format!("{:#}", Journal::open(folder.path()).err().unwrap());
    assert!(problem.contains("another peep ship"), "{problem}");
    drop(journal);
    assert!(Journal::open(folder.path()).is_ok());
}

#[test]
fn a_path_that_is_gone_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path()).unwrap();
    journal.stand("/log/access.log", 17, &[position(1, 9)]).unwrap();
    journal.forget("/log/access.log").unwrap();
    drop(journal);
    assert!(Journal::open(folder.path()).unwrap().paths().is_empty());
}

#[test]
fn what_a_full_disk_cut_off_is_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path()).unwrap();
    journal.append(&parcel(0), &[position(1, 100)]).unwrap();
    // As `write_all` leaves it when the disk is full.
    let half = Record::Batch { parcel: parcel(1), positions: Vec::new() }.encode();
    journal.file.write_all(&half[..half.len() / 2]).unwrap();
    journal.take_back().unwrap();
    journal.append(&parcel(2), &[position(1, 200)]).unwrap();
    drop(journal);
    let journal = Journal::open(folder.path()).unwrap();
    assert_eq!(seqs(&journal), [0, 2]);
    assert_eq!(journal.paths()["/log/access.log"].files[0].offset, 200);
}
