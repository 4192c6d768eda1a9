//! A certificate under a name just as it was asked for. rcgen keeps one value of each attribute, and a user may be in several groups.

use rcgen::{KeyPair, SigningKey};
use yasna::ASN1Result;

/// Where the subject is in what is signed of a certificate: version, serial, algorithm, issuer, validity, subject (RFC 5280 §4.1).
const SUBJECT: usize = 5;

/// The certificate (DER) with `subject` (DER) for its own, signed again by `key`.
///
/// # Errors
/// When it is not a certificate, or cannot be signed.
pub(super) fn renamed(certificate: &[u8], subject: &[u8], key: &KeyPair) -> Result<Vec<u8>, String> {
    let parts = members(certificate).map_err(|error| error.to_string())?;
    let [signed, algorithm, _] = parts.as_slice() else { return Err("not a certificate".to_owned()) };
    let mut fields = members(signed).map_err(|error| error.to_string())?;
    match fields.get_mut(SUBJECT) {
        Some(field) => *field = subject.to_vec(),
        None => return Err("not a certificate".to_owned()),
    }
    let signed = yasna::construct_der(|writer| {
        writer.write_sequence(|writer| fields.iter().for_each(|field| writer.next().write_der(field)));
    });
    let signature = key.sign(&signed).map_err(|error| error.to_string())?;
    Ok(yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_der(&signed);
            writer.next().write_der(algorithm);
            writer.next().write_bitvec_bytes(&signature, signature.len() * 8);
        });
    }))
}

fn members(sequence: &[u8]) -> ASN1Result<Vec<Vec<u8>>> {
    yasna::parse_der(sequence, |reader| reader.collect_sequence_of(|reader| reader.read_der()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, PKCS_ECDSA_P256_SHA256};
    use x509_parser::prelude::{FromDer, X509Certificate};

    use super::*;

    #[test]
    fn all_but_the_subject_stays_and_the_signature_is_good() {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let names = vec!["edge.example".to_owned()];
        let made = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        let (_, before) = X509Certificate::from_der(made.der()).unwrap();
        let empty = [0x30, 0];
        let other = renamed(made.der(), &empty, &key).unwrap();
        let (rest, after) = X509Certificate::from_der(&other).unwrap();
        assert!(rest.is_empty() && after.subject().iter().next().is_none());
        after.verify_signature(Some(before.public_key())).unwrap();
        let again = renamed(&other, before.subject().as_raw(), &key).unwrap();
        let (_, again) = X509Certificate::from_der(&again).unwrap();
        assert_eq!(again.tbs_certificate.as_ref(), before.tbs_certificate.as_ref());
    }

    proptest! {
        #[test]
        fn what_is_no_certificate_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
            prop_assert!(renamed(&bytes, &[0x30, 0], &key).is_err());
        }
    }
}
