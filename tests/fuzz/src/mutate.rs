//! A small mutator: enough to find, in seconds and anywhere, what a change has broken. libFuzzer looks
//! deeper.

/// Bytes and texts that parsers trip over.
const ODD: [&[u8]; 24] = [
    b"",
    b"\0",
    b"\n",
    b"\r\n",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"{",
    b"}",
    b"[[[[[[[[",
    b":",
    b",",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"9223372036854775807",
    b"null",
    b"\xff",
    b"\xc3\x28",
    b"\xe2\x80\xae",
    b"\x1b[2J",
    b"../",
    b"%00",
];

/// Makes inputs of other inputs. The same seed makes the same ones.
#[derive(Debug, Clone)]
pub struct Mutator {
    state: u64,
    corpus: Vec<Vec<u8>>,
    words: Vec<Vec<u8>>,
}

impl Mutator {
    /// From these inputs; their words are put into others.
    pub fn new(seed: u64, corpus: Vec<Vec<u8>>) -> Self {
        let is_end = |byte: &u8| !byte.is_ascii_alphanumeric() && !matches!(byte, b'_' | b'-');
        let words = corpus.iter().flat_map(|input| input.split(is_end));
        let mut words: Vec<Vec<u8>> =
            words.filter(|word| (3..=32).contains(&word.len())).map(<[u8]>::to_vec).collect();
        words.sort();
        words.dedup();
        words.extend(ODD.iter().map(|odd| odd.to_vec()));
        Self { state: seed, corpus, words }
    }

    /// The next input, of at most `most` bytes.
    pub fn input(&mut self, most: usize) -> Vec<u8> {
        let mut input = self.pick().clone();
        for _ in 0..=self.below(4) {
            self.change(&mut input);
        }
        input.truncate(most);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let place = self.below(input.len() + 1);
        let end = (place + 1 + self.below(16)).min(input.len());
        match self.below(7) {
            0 => {
                if let Some(byte) = input.get_mut(place) {
                    *byte ^= 1 << (self.next() % 8);
                }
            }
            1 => {
                if let Some(byte) = input.get_mut(place) {
                    *byte = self.next().to_le_bytes()[0];
                }
            }
            2 => input.truncate(place),
            3 => drop(input.drain(place.min(end)..end)),
            4 => {
                let again = input.get(place..end).unwrap_or_default().to_vec();
                input.splice(place..place, again);
            }
            5 => {
                let word = self.below(self.words.len());
                let word = self.words.get(word).cloned().unwrap_or_default();
                let until = if self.below(2) == 0 { place } else { end.max(place) };
                input.splice(place..until, word);
            }
            _ => {
                let other = self.pick().clone();
                let from = self.below(other.len() + 1);
                input.truncate(place);
                input.extend_from_slice(other.get(from..).unwrap_or_default());
            }
        }
    }

    fn pick(&mut self) -> &Vec<u8> {
        const NOTHING: &Vec<u8> = &Vec::new();
        let place = self.below(self.corpus.len().max(1));
        self.corpus.get(place).unwrap_or(NOTHING)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap_or_default()
    }

    /// `SplitMix64` (Steele, Lea, Flood 2014).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
