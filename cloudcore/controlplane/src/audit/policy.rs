//! How much is told about which requests: the `Policy` of `audit.k8s.io/v1`. The first rule that fits decides.

use serde::Deserialize;

use super::Stage;

/// How much is told, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum Level {
    /// Nothing.
    None,
    /// Who, what, when, and the code of the answer.
    Metadata,
    /// Besides, the body of the request.
    Request,
    /// Besides, the body of the answer.
    RequestResponse,
}

impl Level {
    /// As it stands in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }
}

/// What is told about one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) level: Level,
    started: bool,
    complete: bool,
}

impl Told {
    /// Nothing at all.
    pub(crate) const NOTHING: Self = Self { level: Level::None, started: false, complete: false };

    /// Whether this stage is told.
    pub(crate) fn tells(self, stage: Stage) -> bool {
        let stage = match stage {
            Stage::ResponseStarted => self.started,
            Stage::ResponseComplete => self.complete,
        };
        stage && self.level != Level::None
    }
}

/// A policy does not say what it should.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// It is no YAML, or has fields or values that a policy does not have.
    #[error("{0}")]
    Syntax(String),
    /// It is something else.
    #[error("{field} is \"{found}\" and must be \"{expected}\"")]
    Kind {
        /// `apiVersion` or `kind`.
        field: &'static str,
        /// What it says.
        found: String,
        /// What it must say.
        expected: &'static str,
    },
    /// It has no rules.
    #[error("rules is empty: write at least one rule, such as `- level: Metadata`")]
    Empty,
    /// A rule is about resources and about paths.
    #[error("rules[{0}] has nonResourceURLs together with resources or namespaces: make two rules of it")]
    Mixed(usize),
    /// Something is omitted that does not exist.
    #[error("{field} names the stage \"{stage}\", which does not exist")]
    Stage {
        /// Where.
        field: String,
        /// Which.
        stage: String,
    },
}

const STAGES: &[&str] = &["RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"];

/// What is told about which requests.
#[derive(Clone, Debug)]
pub struct Policy {
    rules: Vec<Rule>,
    omit_stages: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    #[serde(default, rename = "metadata")]
    _metadata: serde::de::IgnoredAny,
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    omit_stages: Vec<String>,
    #[serde(default, rename = "omitManagedFields")]
    _omit_managed_fields: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    level: Level,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<GroupResources>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    #[serde(default)]
    omit_stages: Vec<String>,
    #[serde(default, rename = "omitManagedFields")]
    _omit_managed_fields: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GroupResources {
    #[serde(default)]
    group: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
}

/// A request, as far as rules look at it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) user: &'a str,
    pub(crate) groups: &'a [String],
    pub(crate) verb: &'a str,
    pub(crate) what: What<'a>,
}

/// What a request is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What<'a> {
    Path(&'a str),
    Resource {
        group: &'a str,
        /// With its subresource.
        resource: &'a str,
        namespace: &'a str,
        name: &'a str,
    },
}

impl Default for Policy {
    /// Everything at `Metadata`.
    fn default() -> Self {
        let rule = Rule {
            level: Level::Metadata,
            users: Vec::new(),
            user_groups: Vec::new(),
            verbs: Vec::new(),
            resources: Vec::new(),
            namespaces: Vec::new(),
            non_resource_urls: Vec::new(),
            omit_stages: Vec::new(),
            _omit_managed_fields: None,
        };
        Self { rules: vec![rule], omit_stages: Vec::new() }
    }
}

impl Policy {
    /// Reads a policy file.
    ///
    /// # Errors
    /// When it is no policy; the text names the field.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let document: Document =
            serde_saphyr::from_str(text).map_err(|error| PolicyError::Syntax(error.to_string()))?;
        let is = |field, found: String, expected: &'static str| {
            if found == expected { Ok(()) } else { Err(PolicyError::Kind { field, found, expected }) }
        };
        is("apiVersion", document.api_version, "audit.k8s.io/v1")?;
        is("kind", document.kind, "Policy")?;
        if document.rules.is_empty() {
            return Err(PolicyError::Empty);
        }
        known("omitStages", &document.omit_stages)?;
        for (index, rule) in document.rules.iter().enumerate() {
            known(&format!("rules[{index}].omitStages"), &rule.omit_stages)?;
            let resources = !(rule.resources.is_empty() && rule.namespaces.is_empty());
            if resources && !rule.non_resource_urls.is_empty() {
                return Err(PolicyError::Mixed(index));
            }
        }
        Ok(Self { rules: document.rules, omit_stages: document.omit_stages })
    }

    /// What is told about a request. What it is better not to keep a copy of, secrets and tokens, is told at `Metadata` at most, unless
    /// a rule names it.
    pub(crate) fn told(&self, request: &Request<'_>) -> Told {
        let Some(rule) = self.rules.iter().find(|rule| rule.fits(request)) else { return Told::NOTHING };
        let delicate = match request.what {
            What::Resource { group: "", resource, .. } => {
                resource == "secrets" || resource == "serviceaccounts/token"
            }
            What::Resource { group, resource, .. } => {
                group == "authentication.k8s.io" && resource == "tokenreviews"
            }
            What::Path(_) => false,
        };
        let most = if delicate && !rule.names(request) { Level::Metadata } else { Level::RequestResponse };
        let tells = |stage: Stage| {
            let mut omitted = self.omit_stages.iter().chain(&rule.omit_stages);
            !omitted.any(|one| one == stage.as_str())
        };
        Told {
            level: rule.level.min(most),
            started: tells(Stage::ResponseStarted),
            complete: tells(Stage::ResponseComplete),
        }
    }
}

fn known(field: &str, stages: &[String]) -> Result<(), PolicyError> {
    match stages.iter().find(|stage| !STAGES.contains(&stage.as_str())) {
        Some(stage) => Err(PolicyError::Stage { field: field.to_owned(), stage: stage.clone() }),
        None => Ok(()),
    }
}

fn any_or(list: &[String], fits: impl Fn(&str) -> bool) -> bool {
    list.is_empty() || list.iter().any(|one| fits(one))
}

impl Rule {
    fn fits(&self, request: &Request<'_>) -> bool {
        let who = any_or(&self.users, |user| user == request.user)
            && any_or(&self.user_groups, |group| request.groups.iter().any(|one| one == group))
            && any_or(&self.verbs, |verb| verb == request.verb);
        who && match request.what {
            What::Path(path) => {
                self.resources.is_empty()
                    && self.namespaces.is_empty()
                    && any_or(&self.non_resource_urls, |pattern| match pattern.strip_suffix('*') {
                        Some(start) => path.starts_with(start),
                        None => path == pattern,
                    })
            }
            What::Resource { namespace, .. } => {
                self.non_resource_urls.is_empty()
                    && any_or(&self.namespaces, |one| one == namespace)
                    && (self.resources.is_empty()
                        || self.resources.iter().any(|resources| resources.fit(request.what)))
            }
        }
    }

    /// Whether the rule means just what the request is about, and not everything.
    fn names(&self, request: &Request<'_>) -> bool {
        let What::Resource { resource, .. } = request.what else { return true };
        let entries = self.resources.iter().filter(|one| one.fit(request.what));
        entries.flat_map(|one| &one.resources).any(|one| one == resource)
    }
}

impl GroupResources {
    fn fit(&self, what: What<'_>) -> bool {
        let What::Resource { group, resource, name, .. } = what else { return false };
        let (parent, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let kind = any_or(&self.resources, |one| {
            one == "*"
                || one == resource
                || (one.strip_suffix("/*") == Some(parent) && !subresource.is_empty())
                || (one.strip_prefix("*/") == Some(subresource) && !subresource.is_empty())
        });
        self.group == group && kind && any_or(&self.resource_names, |one| one == name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn level(policy: &Policy, user: &str, verb: &str, group: &str, resource: &str) -> Level {
        let what = What::Resource { group, resource, namespace: "default", name: "n" };
        policy.told(&Request { user, groups: &[], verb, what }).level
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let policy = Policy::parse(
            r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  users: ["system:kube-proxy"]
  verbs: ["watch"]
- level: None
  nonResourceURLs: ["/healthz*", "/version"]
- level: RequestResponse
  resources: [{group: "", resources: ["pods", "pods/*"]}]
- level: Request
  resources: [{group: apps}]
  omitStages: [ResponseStarted]
- level: Metadata
"#,
        )
        .unwrap();
        assert_eq!(level(&policy, "system:kube-proxy", "watch", "", "pods"), Level::None);
        assert_eq!(level(&policy, "bob", "watch", "", "pods/status"), Level::RequestResponse);
        assert_eq!(level(&policy, "bob", "get", "apps", "deployments"), Level::Request);
        assert_eq!(level(&policy, "bob", "get", "batch", "jobs"), Level::Metadata);
        let path =
            |path| policy.told(&Request { user: "bob", groups: &[], verb: "get", what: What::Path(path) });
        assert!(!path("/healthz/ping").tells(Stage::ResponseComplete));
        assert!(path("/metrics").tells(Stage::ResponseComplete));
        let what = What::Resource { group: "apps", resource: "deployments", namespace: "", name: "" };
        let watch = policy.told(&Request { user: "bob", groups: &[], verb: "watch", what });
        assert!(watch.tells(Stage::ResponseComplete) && !watch.tells(Stage::ResponseStarted));
    }

    #[test]
    fn bodies_of_secrets_are_told_only_when_a_rule_names_secrets() {
        let policy = |rule: &str| {
            Policy::parse(&format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{rule}]")).unwrap()
        };
        let all = policy("{level: RequestResponse}");
        assert_eq!(level(&all, "bob", "get", "", "secrets"), Level::Metadata);
        assert_eq!(level(&all, "bob", "create", "", "serviceaccounts/token"), Level::Metadata);
        assert_eq!(level(&all, "bob", "get", "", "pods"), Level::RequestResponse);
        let named = policy("{level: Request, resources: [{group: '', resources: [secrets]}]}");
        assert_eq!(level(&named, "bob", "get", "", "secrets"), Level::Request);
    }

    #[test]
    fn what_is_wrong_with_a_policy_is_said_with_its_field() {
        let wrong = |rest: &str| {
            let text = format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{rest}");
            Policy::parse(&text).unwrap_err().to_string()
        };
        assert!(wrong("rules: [{level: Loud}]").contains("Loud"));
        assert!(wrong("rules: [{levle: None}]").contains("levle"));
        assert!(wrong("rules: []").starts_with("rules is empty"));
        assert!(
            wrong("rules: [{level: None, namespaces: [a], nonResourceURLs: [/x]}]")
                .starts_with("rules[0] has nonResourceURLs")
        );
        assert_eq!(
            wrong("rules: [{level: None, omitStages: [Never]}]"),
            "rules[0].omitStages names the stage \"Never\", which does not exist"
        );
        let other = Policy::parse("apiVersion: audit.k8s.io/v1beta1\nkind: Policy").unwrap_err().to_string();
        assert_eq!(other, "apiVersion is \"audit.k8s.io/v1beta1\" and must be \"audit.k8s.io/v1\"");
    }

    proptest! {
        #[test]
        fn any_text_is_a_policy_or_refused_without_a_panic(text in "[a-zA-Z0-9:{}\\[\\], \\n-]{0,200}") {
            let _ = Policy::parse(&text);
        }
    }
}
