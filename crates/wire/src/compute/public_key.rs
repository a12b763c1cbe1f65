//! OpenSSH's public keys: checks a line, and finds its MD5 fingerprint as `ssh-keygen -E md5 -l` prints it.

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// The end of a key type's name in a certificate.
const CERTIFICATE: &str = "-cert-v01@openssh.com";

/// The fewest bits of an RSA key that OpenSSH accepts.
const RSA_BITS_MIN: usize = 1024;

/// One field of a key.
#[derive(Clone, Copy)]
enum Part {
    /// Exactly these bytes: the name of a curve.
    Name(&'static str),
    /// This many bytes.
    Bytes(usize),
    /// An uncompressed point of this many bytes.
    Point(usize),
    /// A positive number of at least this many bits.
    Number(usize),
    /// A text that is not empty: the application of a security key.
    Text,
}

/// Every key type, with its name in a certificate if that differs, and its fields.
const TYPES: &[(&str, &str, &[Part])] = &[
    ("ssh-ed25519", "ssh-ed25519", &[Part::Bytes(32)]),
    ("ssh-rsa", "ssh-rsa", &[Part::Number(2), Part::Number(RSA_BITS_MIN)]),
    ("ssh-dss", "ssh-dss", &[Part::Number(1024), Part::Number(160), Part::Number(1), Part::Number(1)]),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256", &[Part::Name("nistp256"), Part::Point(65)]),
    ("ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384", &[Part::Name("nistp384"), Part::Point(97)]),
    ("ecdsa-sha2-nistp521", "ecdsa-sha2-nistp521", &[Part::Name("nistp521"), Part::Point(133)]),
    ("sk-ssh-ed25519@openssh.com", "sk-ssh-ed25519", &[Part::Bytes(32), Part::Text]),
    (
        "sk-ecdsa-sha2-nistp256@openssh.com",
        "sk-ecdsa-sha2-nistp256",
        &[Part::Name("nistp256"), Part::Point(65), Part::Text],
    ),
];

/// Reads a key's bytes: numbers and texts, each after its length.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = u32::from_be_bytes(self.take(4)?.try_into().ok()?);
        self.take(usize::try_from(length).ok()?)
    }

    fn part(&mut self, part: Part) -> Option<()> {
        let bytes = self.text()?;
        let good = match part {
            Part::Name(name) => bytes == name.as_bytes(),
            Part::Bytes(length) => bytes.len() == length,
            Part::Point(length) => bytes.len() == length && bytes.first() == Some(&4),
            Part::Number(bits) => is_number(bytes, bits),
            Part::Text => !bytes.is_empty(),
        };
        good.then_some(())
    }

    /// Reads the rest of a certificate behind its key: signer, purpose and validity.
    fn certificate(&mut self) -> Option<()> {
        self.take(8 + 4)?;
        self.text()?;
        self.text()?;
        self.take(8 + 8)?;
        // Options, extensions, a reserved field, the signer's key, and the signature.
        (0..5).try_for_each(|_| self.text().map(|_| ()))
    }
}

fn is_number(bytes: &[u8], bits_min: usize) -> bool {
    let bits = match bytes {
        [] => 0,
        // A leading zero keeps the number positive.
        [0, rest @ ..] => rest.len() * 8,
        [first, ..] if *first >= 0x80 => 0,
        [first, rest @ ..] => rest.len() * 8 + (8 - first.leading_zeros() as usize),
    };
    bits >= bits_min
}

/// The bytes that a public key's fingerprint is the digest of; `None` if the line is no public key.
///
/// A certificate has the fingerprint of the key in it.
pub fn fingerprinted(line: &str) -> Option<Vec<u8>> {
    let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
    let (name, text) = (words.next()?, words.next()?);
    let bytes = STANDARD.decode(text).ok()?;
    let mut reader = Reader(&bytes);
    if reader.text()? != name.as_bytes() {
        return None;
    }
    let certified = name.strip_suffix(CERTIFICATE);
    let found = TYPES.iter().find(|(plain, in_certificate, _)| match certified {
        Some(name) => name == *in_certificate,
        None => name == *plain,
    });
    let (plain_name, _, parts) = found?;
    if certified.is_some() {
        reader.text()?;
    }
    let before = reader.0;
    parts.iter().try_for_each(|part| reader.part(*part))?;
    let key = &before[..before.len() - reader.0.len()];
    if certified.is_some() {
        reader.certificate()?;
    }
    if !reader.0.is_empty() {
        return None;
    }
    let length = u32::try_from(plain_name.len()).ok()?.to_be_bytes();
    Some([&length, plain_name.as_bytes(), key].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILSWYQ9d92uE8+6RAvgzXrNeMLfa+cFcvgVqydmvpEmK";
    const CERTIFIED: &str = "ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1lZDI1NTE5LWNlcnQtdjAxQG9wZW5zc2guY29tAAAAIHkHrMSW8Rlx+DX\
        FbzO4TZMRpWrCzrvu7n1o9u/66QyVAAAAILSWYQ9d92uE8+6RAvgzXrNeMLfa+cFcvgVqydmvpEmKAAAAAAAAAAAAAAABAAAAAml\
        kAAAACAAAAARyb290AAAAAAAAAAD//////////wAAAAAAAACCAAAAFXBlcm1pdC1YMTEtZm9yd2FyZGluZwAAAAAAAAAXcGVybWl\
        0LWFnZW50LWZvcndhcmRpbmcAAAAAAAAAFnBlcm1pdC1wb3J0LWZvcndhcmRpbmcAAAAAAAAACnBlcm1pdC1wdHkAAAAAAAAADnB\
        lcm1pdC11c2VyLXJjAAAAAAAAAAAAAAAzAAAAC3NzaC1lZDI1NTE5AAAAIAxq31A0ZsJj50XtZjnGW2pddhuuykKSrpcEAuYyMLi\
        mAAAAUwAAAAtzc2gtZWQyNTUxOQAAAECBzV6p5VnWZQgvNrops0RqhV3+CESBTEZFgVli3islZO7nNU30dIalpS3XBINIlHuq6sy\
        tDrzjcG3C8LAaAV8K";
    const ECDSA: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBNlutMBQQQ2MQBXO27qB3d2pbGiX\
        r60o+YMaOSt66fGBp3xpk6RYJ6pm8QaMRA+k58ahryBITQYqVg2TwjyBZlc=";

    #[test]
    fn a_certificate_has_the_fingerprint_of_its_key() {
        let bytes = fingerprinted(ED25519).unwrap();
        assert_eq!(STANDARD.encode(&bytes), ED25519.split(' ').nth(1).unwrap());
        assert_eq!(fingerprinted(CERTIFIED), Some(bytes));
        assert!(fingerprinted(&format!("{ECDSA}  a comment of words")).is_some());
    }

    #[test]
    fn what_is_no_whole_key_of_its_type_is_none() {
        let line = |name: &str, parts: &[&[u8]]| {
            let with_length = |part: &&[u8]| [&(part.len() as u32).to_be_bytes(), *part].concat();
            let bytes: Vec<u8> = [&name.as_bytes()].into_iter().chain(parts).flat_map(with_length).collect();
            format!("{name} {}", STANDARD.encode(bytes))
        };
        let key = |parts: &[&[u8]]| fingerprinted(&line("ssh-ed25519", parts)).is_some();
        assert!(key(&[&[7; 32]]));
        assert!(!key(&[]) && !key(&[&[7; 31]]) && !key(&[&[7; 32], &[]]));
        let rsa = |bytes: usize| {
            fingerprinted(&line("ssh-rsa", &[&[1, 0, 1], &[&[0, 0x81][..], &vec![1; bytes - 1]].concat()]))
        };
        assert!(rsa(128).is_some() && rsa(127).is_none());
        let sk = "sk-ssh-ed25519@openssh.com";
        assert!(fingerprinted(&line(sk, &[&[7; 32], b"ssh:"])).is_some());
        assert!(fingerprinted(&line(sk, &[&[7; 32], b""])).is_none());
        let point = [&[4][..], &[1; 64]].concat();
        assert!(fingerprinted(&line("ecdsa-sha2-nistp256", &[b"nistp384", &point])).is_none());
        assert!(fingerprinted(&line("ecdsa-sha2-nistp256", &[b"nistp256", &point])).is_some());
        assert!(fingerprinted(&line("ecdsa-sha2-nistp999", &[b"nistp999", &point])).is_none());
        for bad in ["", "ssh-ed25519", "ssh-rsa nonsense", &ED25519.replace("ssh-ed25519 ", "ssh-rsa ")] {
            assert!(fingerprinted(bad).is_none(), "{bad}");
        }
    }
}
