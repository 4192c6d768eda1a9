//! What is encrypted at rest as kube-apiserver does it: the `EncryptionConfiguration` of `apiserver.config.k8s.io/v1`.
//!
//! Owns the file's meaning: which resources, which provider seals (the first of a rule), which open (all). Calls nothing of the crate.
//! Called by `plane`, which reads the file, and by `store`, which seals and opens. Source: Kubernetes v1.36
//! `apiserver/pkg/apis/apiserver/validation` and `server/options/encryptionconfig`.

mod provider;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;

pub(crate) use provider::{Provider, Scheme, sealed_by};

/// No such file is longer.
const MAX: u64 = 1 << 20;
const VERSION: &str = "apiserver.config.k8s.io/v1";
const KIND: &str = "EncryptionConfiguration";

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EncryptionError {
    /// It cannot be read.
    #[error(
        "cannot read the encryption configuration {path}: {source}; check modules.controlPlane.encryptionConfig"
    )]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It does not say what it should.
    #[error("the encryption configuration {path} is wrong: {detail}")]
    Content {
        /// Which.
        path: PathBuf,
        /// The field, what is wrong with it and what to do.
        detail: String,
    },
}

/// What a file says.
#[derive(Debug, Default)]
pub(crate) struct Rules(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    /// `secrets`, `deployments.apps`, `*.apps`, `*.` or `*.*`.
    resources: Vec<String>,
    /// None is `identity`.
    providers: Vec<Option<Provider>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    api_version: String,
    kind: String,
    #[serde(default, rename = "metadata")]
    _metadata: IgnoredAny,
    #[serde(default)]
    resources: Vec<RuleDocument>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleDocument {
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    providers: Vec<ProviderDocument>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProviderDocument {
    aescbc: Option<Keys>,
    aesgcm: Option<Keys>,
    secretbox: Option<Keys>,
    identity: Option<Nothing>,
    kms: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    #[serde(default)]
    keys: Vec<KeyDocument>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyDocument {
    #[serde(default)]
    name: String,
    #[serde(default)]
    secret: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

// === impl Rules ===

impl Rules {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or is no `EncryptionConfiguration`; the text names the field.
    pub(crate) fn read(path: &Path) -> Result<Self, EncryptionError> {
        let fail = |source| EncryptionError::File { path: path.to_owned(), source };
        let mut text = String::new();
        #[allow(clippy::disallowed_methods, reason = "the reader is capped by take")]
        File::open(path).map_err(fail)?.take(MAX).read_to_string(&mut text).map_err(fail)?;
        Self::parse(&text).map_err(|detail| EncryptionError::Content { path: path.to_owned(), detail })
    }

    fn parse(text: &str) -> Result<Self, String> {
        // The lines around a mistake may hold keys.
        let shown = |error: serde_saphyr::Error| error.without_snippet().to_string();
        let document: Document = serde_saphyr::from_str(text).map_err(shown)?;
        for (field, found, wanted) in
            [("apiVersion", document.api_version, VERSION), ("kind", document.kind, KIND)]
        {
            if found != wanted {
                return Err(format!("{field} is \"{found}\" and must be \"{wanted}\""));
            }
        }
        if document.resources.is_empty() {
            return Err(
                "resources: Required value: name what is encrypted, such as `- resources: [secrets]`"
                    .to_owned(),
            );
        }
        let rules = document
            .resources
            .into_iter()
            .enumerate()
            .map(|(at, rule)| Rule::of(rule, &format!("resources[{at}]")));
        rules.collect::<Result<_, _>>().map(Self)
    }

    /// Who seals objects of this collection; none if nobody does.
    pub(crate) fn writer(&self, collection: &str) -> Option<&Provider> {
        let rule = self.0.iter().find(|rule| rule.resources.iter().any(|name| matches(name, collection)))?;
        rule.providers.first()?.as_ref()
    }

    /// All who may have sealed something.
    pub(crate) fn readers(&self) -> impl Iterator<Item = &Provider> {
        self.0.iter().flat_map(|rule| rule.providers.iter().flatten())
    }
}

impl Rule {
    fn of(rule: RuleDocument, field: &str) -> Result<Self, String> {
        if rule.resources.is_empty() {
            return Err(format!(
                "{field}.resources: Required value: name what is encrypted, such as secrets"
            ));
        }
        for (at, name) in rule.resources.iter().enumerate() {
            check_resource(name)
                .map_err(|why| format!("{field}.resources[{at}]: Invalid value: \"{name}\": {why}"))?;
        }
        if rule.providers.is_empty() {
            return Err(format!("{field}.providers: Required value: write at least one, such as secretbox"));
        }
        let mut providers = Vec::new();
        for (at, one) in rule.providers.into_iter().enumerate() {
            add(one, &format!("{field}.providers[{at}]"), &mut providers)?;
        }
        Ok(Self { resources: rule.resources, providers })
    }
}

fn check_resource(name: &str) -> Result<(), &'static str> {
    let (resource, group) = name.split_once('.').unwrap_or((name, ""));
    match (resource, group) {
        ("*", "") if name == "*" => Err("use '*.' for the core group, or '*.*' for everything"),
        ("", _) => Err("a resource has a name, such as secrets or deployments.apps"),
        (resource, group) if resource != "*" && (resource.contains('*') || group.contains('*')) => {
            Err("'*' stands alone, as in '*.apps' or '*.*'")
        }
        (resource, _) if resource.contains('/') => Err("a subresource is not kept by itself"),
        (resource, _) if resource.chars().any(char::is_uppercase) => {
            Err("write it in lower case, as in the URL")
        }
        _ => Ok(()),
    }
}

fn add(one: ProviderDocument, field: &str, providers: &mut Vec<Option<Provider>>) -> Result<(), String> {
    let ProviderDocument { aescbc, aesgcm, secretbox, identity, kms } = one;
    if kms.is_some() {
        return Err(format!(
            "{field}.kms: KMS plugins cannot be called here: use secretbox or aesgcm with a key in this file, and keep the file apart"
        ));
    }
    let keyed = [(Scheme::AesCbc, aescbc), (Scheme::AesGcm, aesgcm), (Scheme::Secretbox, secretbox)];
    let mut keyed = keyed.into_iter().filter_map(|(scheme, keys)| Some((scheme, keys?)));
    match (keyed.next(), keyed.next(), identity) {
        (Some((scheme, keys)), None, None) => {
            let field = format!("{field}.{}.keys", scheme.name());
            if keys.keys.is_empty() {
                return Err(format!("{field}: Required value: a provider needs a key"));
            }
            for (at, key) in keys.keys.into_iter().enumerate() {
                providers.push(Some(provider(scheme, &key, &format!("{field}[{at}]"))?));
            }
            Ok(())
        }
        (None, None, Some(Nothing {})) => {
            providers.push(None);
            Ok(())
        }
        (None, None, None) => {
            Err(format!("{field}: Required value: name one of aescbc, aesgcm, secretbox and identity"))
        }
        _ => Err(format!(
            "{field}: Invalid value: more than one provider specified in a single element, should split into different list elements"
        )),
    }
}

fn provider(scheme: Scheme, key: &KeyDocument, field: &str) -> Result<Provider, String> {
    if key.name.is_empty() || key.name.contains(':') {
        return Err(format!("{field}.name: Invalid value: \"{}\": a key has a name, without ':'", key.name));
    }
    if key.secret.is_empty() {
        return Err(format!("{field}.secret: Required value: head -c 32 /dev/urandom | base64"));
    }
    // The secret itself is told nobody.
    let secret = STANDARD.decode(&key.secret);
    let secret = secret
        .map_err(|_| format!("{field}.secret: Invalid value: \"REDACTED\": secret must be base64 encoded"))?;
    Provider::new(scheme, &key.name, &secret).ok_or_else(|| {
        format!(
            "{field}.secret: Invalid value: \"REDACTED\": secret is not of the expected length, got {}, expected one of {:?}",
            secret.len(),
            scheme.lengths(),
        )
    })
}

/// Whether a name of the file means a collection, such as `secrets` or `deployments.apps`.
fn matches(name: &str, collection: &str) -> bool {
    let (resource, group) = name.split_once('.').unwrap_or((name, ""));
    let (kept, kept_group) = collection.split_once('.').unwrap_or((collection, ""));
    (resource == "*" || resource == kept) && (group == "*" || group == kept_group)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

    fn file(resources: &str) -> String {
        format!("apiVersion: {VERSION}\nkind: {KIND}\nresources:\n{resources}")
    }

    #[test]
    fn the_first_rule_that_names_a_resource_says_who_seals_it() {
        let rules = Rules::parse(&file(&format!(
            "- resources: [secrets, '*.example.com']\n  providers: [{{aesgcm: {{keys: [{{name: new, secret: {KEY}}}, {{name: old, secret: {KEY}}}]}}}}]\n\
             - resources: [events]\n  providers: [{{identity: {{}}}}, {{aescbc: {{keys: [{{name: k, secret: {KEY}}}]}}}}]\n\
             - resources: ['*.']\n  providers: [{{secretbox: {{keys: [{{name: box, secret: {KEY}}}]}}}}]\n"
        )))
        .unwrap();
        let by = |collection| rules.writer(collection).map(|provider| format!("{provider:?}"));
        assert_eq!(by("secrets").unwrap(), r#"Provider("k8s:enc:aesgcm:v1:new:")"#);
        assert_eq!(by("pandas.example.com"), by("secrets"));
        assert_eq!(by("events"), None);
        assert_eq!(by("configmaps").unwrap(), r#"Provider("k8s:enc:secretbox:v1:box:")"#);
        assert_eq!(by("deployments.apps"), None);
        assert_eq!(rules.readers().count(), 4);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_field_and_without_the_secret() {
        let one = |provider: &str| file(&format!("- resources: [secrets]\n  providers: [{provider}]\n"));
        for (text, why) in [
            (format!("apiVersion: {VERSION}\nkind: {KIND}\n"), "resources: Required value"),
            ("kind: Secret\napiVersion: v1\n".to_owned(), "apiVersion is \"v1\" and must be"),
            (
                file("- resources: []\n  providers: [{identity: {}}]\n"),
                "resources[0].resources: Required value",
            ),
            (file("- resources: ['*']\n  providers: [{identity: {}}]\n"), "use '*.' for the core group"),
            (
                file("- resources: [Secrets]\n  providers: [{identity: {}}]\n"),
                "resources[0].resources[0]: Invalid value: \"Secrets\"",
            ),
            (file("- resources: [secrets]\n"), "resources[0].providers: Required value"),
            (one("{}"), "resources[0].providers[0]: Required value: name one of"),
            (one("{identity: {}, aescbc: {keys: []}}"), "more than one provider specified"),
            (one("{aescbc: {keys: []}}"), "resources[0].providers[0].aescbc.keys: Required value"),
            (one("{kms: {name: vault}}"), "resources[0].providers[0].kms: KMS plugins cannot be called"),
            (
                one("{aesgcm: {keys: [{name: k, secret: aGlkZGVu}]}}"),
                "aesgcm.keys[0].secret: Invalid value: \"REDACTED\": secret is not of the expected length, got 6, expected one of [16, 32]",
            ),
            (
                one("{secretbox: {keys: [{name: k, secret: '?hidden?'}]}}"),
                "secretbox.keys[0].secret: Invalid value: \"REDACTED\": secret must be base64",
            ),
            (
                one(&format!("{{secretbox: {{keys: [{{secret: {KEY}}}]}}}}")),
                "secretbox.keys[0].name: Invalid value",
            ),
            (one("{rot13: {}, secretbox: {keys: [{name: k, secret: hidden}]}}"), "rot13"),
            (one("{secretbox: {keys: [{name: k, secret: hidden, kind: x}]}}"), "kind"),
        ] {
            let said = Rules::parse(&text).unwrap_err();
            assert!(said.contains(why), "{why} in {said}");
            assert!(!said.contains("hidden") && !said.contains("aGlkZGVu"), "{said}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,200}") {
            let _ = Rules::parse(&text);
            let _ = Rules::parse(&file(&text));
        }
    }
}
