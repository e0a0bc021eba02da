//! Hashes that outlive a process: they decide where a record goes and what is stored, so they never change.
//!
//! Two of them, because two things are asked:
//! - [`fnv1a`] with [`mix`] spreads requests over partitions. Tiny, and the same in every language that will ever need it. But
//!   whoever wants collisions makes as many as they like, which is harmless there: all they get is one busy partition;
//! - [`sip`] stands for a series in the books of how many there are. A client that finds many routes with one hash would have
//!   them all for the price of one, so this one has to make that dear.

/// FNV-1a, 64 bit (Fowler, Noll, Vo). Start with [`FNV_OFFSET`], feed one part after the other, end with [`mix`].
#[inline]
pub fn fnv1a(mut hash: u64, bytes: &[u8]) -> u64 {
    for &byte in bytes {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}

/// MurmurHash3's 64-bit finaliser (Appleby): the low bits of FNV-1a alone are weak for short or regular input.
#[inline]
pub fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// SipHash-2-4 (Aumasson, Bernstein) with the key 0. The key is no secret and need not be one: with 256 bits of state there is
/// no cheaper way to many inputs of one hash than to try about 2^64 of them for each.
pub fn sip(bytes: &[u8]) -> u64 {
    sip_with(0, 0, bytes)
}

fn sip_with(key_low: u64, key_high: u64, bytes: &[u8]) -> u64 {
    let mut state = [
        key_low ^ 0x736f_6d65_7073_6575,
        key_high ^ 0x646f_7261_6e64_6f6d,
        key_low ^ 0x6c79_6765_6e65_7261,
        key_high ^ 0x7465_6462_7974_6573,
    ];
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        absorb(&mut state, u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    last[7] = bytes.len() as u8;
    absorb(&mut state, u64::from_le_bytes(last));
    state[2] ^= 0xff;
    for _ in 0..4 {
        round(&mut state);
    }
    state[0] ^ state[1] ^ state[2] ^ state[3]
}

#[inline]
fn absorb(state: &mut [u64; 4], word: u64) {
    state[3] ^= word;
    round(state);
    round(state);
    state[0] ^= word;
}

#[inline]
fn round(state: &mut [u64; 4]) {
    let [a, b, c, d] = state;
    *a = a.wrapping_add(*b);
    *c = c.wrapping_add(*d);
    *b = b.rotate_left(13) ^ *a;
    *d = d.rotate_left(16) ^ *c;
    *a = a.rotate_left(32);
    *c = c.wrapping_add(*b);
    *a = a.wrapping_add(*d);
    *b = b.rotate_left(17) ^ *c;
    *d = d.rotate_left(21) ^ *a;
    *c = c.rotate_left(32);
}

/// Where [`fnv1a`] begins.
pub const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv_gives_the_published_values() {
        assert_eq!(fnv1a(FNV_OFFSET, b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(FNV_OFFSET, b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(FNV_OFFSET, b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn siphash_gives_the_published_values() {
        let key_low = u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7]);
        let key_high = u64::from_le_bytes([8, 9, 10, 11, 12, 13, 14, 15]);
        let message: Vec<u8> = (0..15).collect();
        // The example of the paper, and the first vectors of the reference code.
        assert_eq!(sip_with(key_low, key_high, &message), 0xa129_ca61_49be_45e5);
        assert_eq!(sip_with(key_low, key_high, b""), 0x726f_db47_dd0e_0e31);
        assert_eq!(sip_with(key_low, key_high, &message[..8]), 0x93f5_f579_9a93_2462);
    }

    #[test]
    fn what_is_stored_is_pinned_for_every_release() {
        assert_eq!(sip(b""), 0x1e92_4b9d_7377_00d7);
        assert_eq!(sip(b"GET /api/orders/{id}"), 0xc745_cafc_b763_2979);
    }
}
