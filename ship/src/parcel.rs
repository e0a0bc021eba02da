//! A batch as it travels: packed once, then the same bytes under the same identity for ever.
//!
//! In: a closed batch. Out: what is written to the journal, sent, and sent again. Promised: packing happens once, before
//! either; a batch that was packed does not change.

use std::io::{Read as _, Write as _};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::args::Compress;
use crate::batch::Batch;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parcel {
    pub(crate) identity: Identity,
    pub(crate) events: u32,
    pub(crate) encoding: Encoding,
    pub(crate) bytes: Vec<u8>,
}

/// What ingest knows a batch by: `Peep-Producer` and `Peep-Seq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Identity {
    #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
    pub(crate) producer: Uuid,
    pub(crate) seq: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

fn as_text<S: Serializer>(producer: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(producer)
}

fn from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Uuid, D::Error> {
    Uuid::parse_str(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

/// Below this, compression saves less than its header costs.
const COMPRESS_OVER_BYTES: usize = 4 << 10;

/// Ingest takes what is packed up to 100 times for a bomb. Under load, a log whose times are whole seconds is that monotonous.
const RATIO_MAX: usize = 90;

impl Encoding {
    /// For `Content-Encoding`.
    pub(crate) fn header(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
        }
    }
}

impl Parcel {
    pub(crate) fn pack(batch: Batch, compress: Compress) -> Self {
        let Batch { identity, events, body, .. } = batch;
        let packed = if body.len() > COMPRESS_OVER_BYTES { packed(&body, compress) } else { None };
        let packed = packed.filter(|(_, packed)| body.len() < packed.len() * RATIO_MAX);
        let (encoding, bytes) = packed.unwrap_or((Encoding::Identity, body));
        Self { identity, events, encoding, bytes }
    }

    /// The NDJSON inside.
    pub(crate) fn unpacked(&self) -> Vec<u8> {
        let mut text = Vec::new();
        let read = match self.encoding {
            Encoding::Identity => return self.bytes.clone(),
            Encoding::Gzip => flate2::read::GzDecoder::new(self.bytes.as_slice()).read_to_end(&mut text),
            Encoding::Zstd => zstd::stream::read::Decoder::new(self.bytes.as_slice())
                .and_then(|mut decoder| decoder.read_to_end(&mut text)),
        };
        debug_assert!(read.is_ok(), "what was packed here can be unpacked here: {read:?}");
        text
    }

    /// The event at `index`, for a message about it.
    pub(crate) fn event(&self, index: usize) -> Vec<u8> {
        self.unpacked().split(|&byte| byte == b'\n').nth(index).unwrap_or_default().to_vec()
    }
}

fn packed(body: &[u8], compress: Compress) -> Option<(Encoding, Vec<u8>)> {
    match compress {
        Compress::None => None,
        Compress::Gzip => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::with_capacity(body.len() / 8), flate2::Compression::fast());
            encoder.write_all(body).ok()?;
            Some((Encoding::Gzip, encoder.finish().ok()?))
        }
        Compress::Zstd => Some((Encoding::Zstd, zstd::bulk::compress(body, 1).ok()?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(body: Vec<u8>, compress: Compress) -> Parcel {
        let identity = Identity { producer: Uuid::nil(), seq: 0 };
        Parcel::pack(Batch { identity, events: 1, body, positions: Vec::new() }, compress)
    }

    fn lines(varied: bool) -> Vec<u8> {
        let line = |number: u64| {
            let ts = if varied { number * 7919 } else { 7 };
            format!("{{\"ts\":{ts},\"service\":\"shop\",\"route\":\"/items/{{id}}\",\"method\":\"GET\"}}\n")
        };
        (0..2000).flat_map(|number| line(number).into_bytes()).collect()
    }

    #[test]
    fn what_is_packed_comes_out_again() {
        for (compress, encoding) in
            [(Compress::Zstd, Encoding::Zstd), (Compress::Gzip, Encoding::Gzip), (Compress::None, Encoding::Identity)]
        {
            let parcel = pack(lines(true), compress);
            assert_eq!((parcel.encoding, parcel.unpacked()), (encoding, lines(true)));
            assert!(parcel.event(1).starts_with(b"{\"ts\":7919,"));
        }
    }

    #[test]
    fn what_ingest_would_take_for_a_bomb_travels_unpacked() {
        assert_eq!(pack(lines(false), Compress::Zstd).encoding, Encoding::Identity);
    }
}
