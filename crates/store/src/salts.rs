//! Salts for changes, drawn from the random source many at a time.

/// How many salts one draw gives: a draw costs as much as hashing a record.
const SALTS: usize = 64;

/// A supply of fresh salts of 16 bytes.
pub(crate) struct Salts {
    pool: [u8; SALTS * 16],
    used: usize,
}

impl Default for Salts {
    fn default() -> Self {
        Salts { pool: [0; SALTS * 16], used: SALTS }
    }
}

impl Salts {
    /// A salt that was never given before.
    pub(crate) fn next(&mut self) -> [u8; 16] {
        if self.used == SALTS {
            keyark_crypto::random::fill(&mut self.pool);
            self.used = 0;
        }
        let start = self.used * 16;
        self.used += 1;
        self.pool[start..start + 16].try_into().expect("sixteen bytes were cut out")
    }
}
