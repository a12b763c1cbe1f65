//! RSA keys, as Nova generates them for users: made once, handed over, and kept nowhere.
//!
//! The forms are those of RFC 8017, appendix A.1 (PKCS #1) and RFC 5208 (PKCS #8).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use lenticular_model::error::{Error, Result};
use num_bigint::BigUint;

/// The size of Nova's keys.
const BITS: u64 = 2_048;
/// The public exponent of all keys.
const EXPONENT: u32 = 65_537;
/// Candidates with a smaller factor are no prime.
const FACTOR_MAX: u32 = 2_000;
/// The candidates that are looked at from one random number on.
const SPAN: u32 = 1 << 14;
/// The rounds of the Miller-Rabin test. A composite number passes fewer than one in 4^20 times.
const ROUNDS: usize = 20;

/// Fills bytes by chance.
type Chance<'c> = dyn FnMut(&mut [u8]) -> Result<()> + 'c;

/// A private key.
pub struct RsaKey {
    n: BigUint,
    e: BigUint,
    d: BigUint,
    p: BigUint,
    q: BigUint,
}

impl RsaKey {
    /// A new key, with the system's randomness. Takes a moment of a processor's time.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn generate() -> Result<Self> {
        Self::from_chance(BITS, &mut |bytes| getrandom::fill(bytes).map_err(Error::internal))
    }

    fn from_chance(bits: u64, chance: &mut Chance<'_>) -> Result<Self> {
        let e = BigUint::from(EXPONENT);
        loop {
            let (one, other) = (prime(bits / 2, chance)?, prime(bits / 2, chance)?);
            let (p, q) = if one > other { (one, other) } else { (other, one) };
            // Factors that are close to each other are found from their product.
            if (&p - &q).bits() + 100 < bits / 2 {
                continue;
            }
            let phi = (&p - 1_u32) * (&q - 1_u32);
            if let Some(d) = e.modinv(&phi) {
                return Ok(Self { n: &p * &q, e, d, p, q });
            }
        }
    }

    /// The public key in OpenSSH's form.
    pub fn public_line(&self, comment: &str) -> String {
        let mut bytes = Vec::new();
        for part in [b"ssh-rsa".to_vec(), signed(&self.e), signed(&self.n)] {
            bytes.extend((part.len() as u32).to_be_bytes());
            bytes.extend(part);
        }
        format!("ssh-rsa {} {comment}", STANDARD.encode(bytes))
    }

    /// The key as PKCS #1 in PEM: the form that clients expect of Nova.
    pub fn pkcs1_pem(&self) -> String {
        pem("RSA PRIVATE KEY", &self.pkcs1())
    }

    /// The key as PKCS #8 in PEM.
    pub fn pkcs8_pem(&self) -> String {
        /// The object identifier of RSA keys, 1.2.840.113549.1.1.1, and no parameters.
        const ALGORITHM: [u8; 13] = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
        let parts = [element(2, &[0]), element(0x30, &ALGORITHM), element(4, &self.pkcs1())];
        pem("PRIVATE KEY", &element(0x30, &parts.concat()))
    }

    fn pkcs1(&self) -> Vec<u8> {
        let (p, q) = (&self.p, &self.q);
        let coefficient = q.modinv(p).unwrap_or_default();
        let rest = [&self.d % (p - 1_u32), &self.d % (q - 1_u32), coefficient];
        let numbers = [&self.n, &self.e, &self.d, p, q].into_iter().chain(&rest);
        let written: Vec<u8> = numbers.flat_map(|number| element(2, &signed(number))).collect();
        element(0x30, &[element(2, &[0]), written].concat())
    }
}

/// A number's bytes, with a zero before a first byte that would make the number negative.
fn signed(number: &BigUint) -> Vec<u8> {
    let mut bytes = number.to_bytes_be();
    if bytes.first().is_some_and(|first| *first >= 0x80) {
        bytes.insert(0, 0);
    }
    bytes
}

/// An element of DER.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    let mut out = vec![tag];
    match content.len() {
        short @ 0..128 => out.push(short as u8),
        _ => {
            out.push(0x80 | length.len() as u8);
            out.extend(length);
        }
    }
    out.extend(content);
    out
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// A random prime with this many bits, the two highest set, so that the product of two has twice as many.
fn prime(bits: u64, chance: &mut Chance<'_>) -> Result<BigUint> {
    let small = small_primes();
    loop {
        let mut start = random(bits, chance)?;
        [0, bits - 1, bits - 2].iter().for_each(|bit| start.set_bit(*bit, true));
        let rests: Vec<u32> = small.iter().map(|prime| rest(&start, *prime)).collect();
        for step in (0..SPAN).step_by(2) {
            let has_factor = small.iter().zip(&rests).any(|(prime, rest)| (rest + step) % prime == 0);
            let candidate = &start + step;
            if has_factor || candidate.bits() != bits || rest(&candidate, EXPONENT) == 1 {
                continue;
            }
            if is_prime(&candidate, chance)? {
                return Ok(candidate);
            }
        }
    }
}

/// A random number of at most this many bits.
fn random(bits: u64, chance: &mut Chance<'_>) -> Result<BigUint> {
    let mut bytes = vec![0; bits.div_ceil(8) as usize];
    chance(&mut bytes)?;
    Ok(BigUint::from_bytes_be(&bytes) >> (bytes.len() as u64 * 8 - bits))
}

fn rest(number: &BigUint, by: u32) -> u32 {
    (number % by).to_u32_digits().first().copied().unwrap_or_default()
}

fn small_primes() -> Vec<u32> {
    let mut found: Vec<u32> = Vec::new();
    for n in 3..FACTOR_MAX {
        if n % 2 == 1 && found.iter().all(|prime| n % prime != 0) {
            found.push(n);
        }
    }
    found
}

/// The Miller-Rabin test of an odd number.
fn is_prime(number: &BigUint, chance: &mut Chance<'_>) -> Result<bool> {
    let last = number - 1_u32;
    let twos = last.trailing_zeros().unwrap_or(0);
    let odd = &last >> twos;
    let one = BigUint::from(1_u32);
    let is_witness = |base: &BigUint| {
        let mut power = base.modpow(&odd, number);
        if power == one || power == last {
            return false;
        }
        for _ in 1..twos {
            power = power.modpow(&BigUint::from(2_u32), number);
            if power == last {
                return false;
            }
        }
        true
    };
    // Most composite numbers fail at once.
    if is_witness(&BigUint::from(2_u32)) {
        return Ok(false);
    }
    for _ in 0..ROUNDS {
        let base = random(number.bits(), chance)? % (number - 3_u32) + 2_u32;
        if is_witness(&base) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same bytes in every run: a test needs no secrets.
    fn chance(seed: u64) -> impl FnMut(&mut [u8]) -> Result<()> {
        let mut state = seed;
        move |bytes| {
            for byte in bytes {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *byte = (state >> 56) as u8;
            }
            Ok(())
        }
    }

    #[test]
    fn primes_are_told_from_composites() {
        let is = |n: u64| is_prime(&BigUint::from(n), &mut chance(1)).unwrap();
        // The largest prime below 2^61, and strong pseudoprimes to small bases.
        assert!(is(2_305_843_009_213_693_951) && is(7_919) && is(65_537));
        for composite in [9, 561, 3_215_031_751, 3_825_123_056_546_413_051, 2_305_843_009_213_693_949] {
            assert!(!is(composite), "{composite}");
        }
    }

    #[test]
    fn a_key_deciphers_what_was_enciphered_with_it() {
        for seed in 0..4 {
            let key = RsaKey::from_chance(512, &mut chance(seed)).unwrap();
            assert_eq!((key.n.bits(), &key.p * &key.q), (512, key.n.clone()));
            assert!(key.p > key.q);
            let message = BigUint::from(0x1234_5678_9abc_def0_u64);
            let secret = message.modpow(&key.e, &key.n);
            assert!(secret != message && secret.modpow(&key.d, &key.n) == message);
        }
    }

    #[test]
    fn a_key_has_the_forms_that_others_read() {
        let key = RsaKey::generate().unwrap();
        let public = key.public_line("Generated-by-Nova");
        assert!(lenticular_wire::compute::public_key::fingerprinted(&public).is_some(), "{public}");
        assert!(key.pkcs1_pem().starts_with("-----BEGIN RSA PRIVATE KEY-----\nMII"));
        // Reading a key checks how its numbers belong together.
        let read = rcgen::KeyPair::from_pem_and_sign_algo(&key.pkcs8_pem(), &rcgen::PKCS_RSA_SHA256);
        assert!(read.is_ok(), "{read:?}");
    }

    #[test]
    fn lengths_are_written_as_der_wants_them() {
        assert_eq!(element(2, &[7]), [2, 1, 7]);
        assert_eq!(element(4, &[0; 128])[..3], [4, 0x81, 128]);
        assert_eq!(element(4, &[0; 300])[..4], [4, 0x82, 1, 44]);
        assert_eq!(signed(&BigUint::from(128_u32)), [0, 128]);
    }
}
