//! What a request says of a registry's credentials.

use super::{
    json::Secret,
    problem::FieldError,
    registry::{JsonText, RegistryRequest, Said},
};
use crate::{
    registry::{Address, Credential, Location, Login, Password, credential::token_problem},
    store::Change,
};

/// What is asked to become of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Nothing is said of it.
    Nothing,
    /// It is to go.
    Clear,
    /// It is to go if it is for one of these locations, none of which is the one that is asked for.
    ClearAt(Vec<Location>),
    /// It is to be this one.
    Set(Credential),
    /// It is this user's; nothing is said of the password.
    SameUser(String),
}

/// The fields of one credential.
pub(super) struct Family {
    /// What their names begin with.
    prefix: &'static str,
    username: Said<String>,
    password: Said<Secret>,
    docker_config: Said<JsonText>,
    file: Said<String>,
    env: Said<String>,
}

impl Asked {
    /// The user of whom it is said, where one is.
    pub(super) fn user(&self) -> Option<&str> {
        match self {
            Self::Set(Credential::Login(Login { username, .. })) => Some(username),
            Self::Set(Credential::File { username, .. } | Credential::Environment { username, .. }) => Some(username),
            Self::SameUser(username) => Some(username),
            Self::Set(Credential::Key(_)) | Self::Nothing | Self::Clear | Self::ClearAt(_) => None,
        }
    }
}

impl Family {
    /// Takes the fields of the credential to pull with out of a request.
    pub(super) fn pull(request: &mut RegistryRequest) -> Self {
        Self {
            prefix: "registry",
            username: std::mem::take(&mut request.registry_username),
            password: std::mem::take(&mut request.registry_password),
            docker_config: std::mem::take(&mut request.registry_docker_config),
            file: std::mem::take(&mut request.registry_password_file),
            env: std::mem::take(&mut request.registry_password_env),
        }
    }

    /// Takes the fields of the credential to push with out of a request.
    pub(super) fn push(request: &mut RegistryRequest) -> Self {
        Self {
            prefix: "registry_push",
            username: std::mem::take(&mut request.registry_push_username),
            password: std::mem::take(&mut request.registry_push_password),
            docker_config: std::mem::take(&mut request.registry_push_docker_config),
            file: std::mem::take(&mut request.registry_push_password_file),
            env: std::mem::take(&mut request.registry_push_password_env),
        }
    }

    /// The fields that have a value.
    pub(super) fn given(&self) -> Vec<String> {
        [
            ("username", self.username.is_this()),
            ("password", self.password.is_this()),
            ("docker_config", self.docker_config.is_this()),
            ("password_file", self.file.is_this()),
            ("password_env", self.env.is_this()),
        ]
        .into_iter()
        .filter(|(_, given)| *given)
        .map(|(name, _)| format!("{}_{name}", self.prefix))
        .collect()
    }

    /// Whether one of them is null.
    pub(super) fn is_null(&self) -> bool {
        self.username.is_null()
            || self.password.is_null()
            || self.docker_config.is_null()
            || self.file.is_null()
            || self.env.is_null()
    }

    /// The one that says which user it is.
    pub(super) fn user_field(&self) -> String {
        let name = if self.docker_config.is_this() {
            "docker_config"
        } else {
            "username"
        };
        format!("{}_{name}", self.prefix)
    }

    /// What they ask for, for the registry at `address`, where that is known.
    pub(super) fn asked(self, address: Option<&Address>, errors: &mut Vec<FieldError>) -> Asked {
        let Self {
            prefix,
            username,
            password,
            docker_config,
            file,
            env,
        } = self;
        let null = [
            matches!(username, Said::Null),
            matches!(password, Said::Null),
            matches!(docker_config, Said::Null),
            matches!(file, Said::Null),
            matches!(env, Said::Null),
        ];
        let field = |name: &str| format!("{prefix}_{name}");
        let given = [
            ("password", matches!(password, Said::This(_))),
            ("docker_config", matches!(docker_config, Said::This(_))),
            ("password_file", matches!(file, Said::This(_))),
            ("password_env", matches!(env, Said::This(_))),
        ];
        let given: Vec<&str> = given
            .iter()
            .filter(|(_, given)| *given)
            .map(|(name, _)| *name)
            .collect();
        if let [first, second, ..] = &*given {
            errors.push(
                FieldError::new(field(second), format!("`{}` is given, too", field(first)))
                    .hint("a registry has one credential to pull with and one to push with: give one of the two"),
            );
            return Asked::Nothing;
        }
        if let (Said::This(_), ["docker_config"]) = (&username, &*given) {
            errors.push(
                FieldError::new(field("username"), format!("`{}` is given, too", field("docker_config")))
                    .hint("a docker config has the username in it: leave this out"),
            );
            return Asked::Nothing;
        }
        if let Said::This(JsonText(config)) = docker_config {
            let Some(address) = address else { return Asked::Nothing };
            return match Login::from_docker_config(config.as_bytes(), address) {
                Ok(login) => checked(login, prefix, "docker_config", errors),
                Err(error) => {
                    errors.push(FieldError::new(field("docker_config"), error.to_string()));
                    Asked::Nothing
                }
            };
        }
        let username = match (username, given.first()) {
            (Said::This(username), _) => username,
            (_, Some(given)) => {
                errors.push(
                    FieldError::new(field("username"), format!("it is missing: `{}` is given", field(given))).hint(
                        "where there is only a token, the registry's documentation says which username goes with it",
                    ),
                );
                return Asked::Nothing;
            }
            (_, None) if null.contains(&true) => return Asked::Clear,
            (_, None) => return Asked::Nothing,
        };
        let username_problem = username_problem(&username);
        if let Some(problem) = username_problem {
            errors.push(FieldError::new(field("username"), problem));
            return Asked::Nothing;
        }
        match (password, file, env) {
            (Said::This(Secret(mut password)), ..) => {
                let password = Password::new(std::mem::take(&mut *password));
                checked(Login { username, password }, prefix, "password", errors)
            }
            (_, Said::This(path), _) => {
                elsewhere(in_file(username, path), field("password_file"), errors).map_or(Asked::Nothing, Asked::Set)
            }
            (_, _, Said::This(variable)) => elsewhere(in_variable(username, variable), field("password_env"), errors)
                .map_or(Asked::Nothing, Asked::Set),
            // A username beside a password that is to go.
            _ if null[1..].contains(&true) => {
                errors.push(
                    FieldError::new(
                        field("username"),
                        "it is given without a password, which is to be removed",
                    )
                    .hint(format!("make `{}` null, too, or leave it out", field("username"))),
                );
                Asked::Nothing
            }
            _ => Asked::SameUser(username),
        }
    }
}

/// What a request asks to become of the notification token.
pub(super) fn token(request: &mut RegistryRequest, errors: &mut Vec<FieldError>) -> Change {
    let text = std::mem::take(&mut request.notification_token);
    let file = std::mem::take(&mut request.notification_token_file);
    let env = std::mem::take(&mut request.notification_token_env);
    let given: Vec<&str> = [
        ("notification_token", matches!(text, Said::This(_))),
        ("notification_token_file", matches!(file, Said::This(_))),
        ("notification_token_env", matches!(env, Said::This(_))),
    ]
    .into_iter()
    .filter_map(|(field, given)| given.then_some(field))
    .collect();
    if let [first, second, ..] = &*given {
        let message = format!("`{first}` is given, too");
        errors
            .push(FieldError::new(*second, message).hint("a registry has one notification token: give one of the two"));
        return Change::Keep;
    }
    let is_null = matches!(text, Said::Null) || matches!(file, Said::Null) || matches!(env, Said::Null);
    match (text, file, env) {
        (Said::This(Secret(mut text)), ..) => match token_problem(&text) {
            None => return Change::Set(Credential::token(Password::new(std::mem::take(&mut *text)))),
            Some(problem) => errors.push(FieldError::new("notification_token", problem).hint(TOKEN_HINT)),
        },
        (_, Said::This(path), _) => {
            let credential = in_file(String::new(), path);
            return elsewhere(credential, "notification_token_file", errors).map_or(Change::Keep, Change::Set);
        }
        (.., Said::This(variable)) => {
            let credential = in_variable(String::new(), variable);
            return elsewhere(credential, "notification_token_env", errors).map_or(Change::Keep, Change::Set);
        }
        _ if is_null => return Change::Clear,
        _ => {}
    }
    Change::Keep
}

/// What one push is made with: what two fields of `prefix` say, if anything.
pub(super) fn of_push(
    prefix: &str,
    username: Option<String>,
    password: Option<Secret>,
    errors: &mut Vec<FieldError>,
) -> Option<Login> {
    let field = |name: &str| format!("{prefix}.registry_{name}");
    let missing = |name: &str, given: &str| {
        FieldError::new(field(name), format!("it is missing: `{}` is given", field(given)))
            .hint("give both, or neither: then it is pushed with what the registry has")
    };
    match (username, password) {
        (Some(username), Some(Secret(mut password))) => {
            let password = Password::new(std::mem::take(&mut *password));
            match login_problem(&username, &password) {
                None => return Some(Login { username, password }),
                Some((Part::Username, problem)) => errors.push(FieldError::new(field("username"), problem)),
                Some((Part::Password, problem)) => errors.push(FieldError::new(field("password"), problem)),
            }
        }
        (Some(_), None) => errors.push(missing("password", "username")),
        (None, Some(_)) => errors.push(missing("username", "password")),
        (None, None) => {}
    }
    None
}

fn in_file(username: String, path: String) -> Result<Credential, &'static str> {
    if !path.starts_with('/') || path.contains('\0') {
        return Err("it is no absolute path: write it from `/` on");
    }
    Ok(Credential::File {
        username,
        path: path.into(),
    })
}

fn in_variable(username: String, variable: String) -> Result<Credential, &'static str> {
    if variable.contains(['=', '\0']) {
        return Err("it is no name of a variable");
    }
    Ok(Credential::Environment { username, variable })
}

/// A credential that is kept elsewhere, or an error of the field that says where.
fn elsewhere(
    credential: Result<Credential, &'static str>,
    field: impl Into<String>,
    errors: &mut Vec<FieldError>,
) -> Option<Credential> {
    credential
        .map_err(|problem| errors.push(FieldError::new(field, problem)))
        .ok()
}

/// Of a login.
enum Part {
    Username,
    Password,
}

/// Why HTTP cannot carry a login (RFC 7617, section 2).
fn login_problem(username: &str, password: &Password) -> Option<(Part, &'static str)> {
    let password = password.expose();
    if let Some(problem) = username_problem(username) {
        Some((Part::Username, problem))
    } else if password.is_empty() {
        Some((Part::Password, "the password is empty"))
    } else if password.chars().any(char::is_control) {
        let problem = "the password has a control character in it: a line end, perhaps, behind what was meant";
        Some((Part::Password, problem))
    } else {
        None
    }
}

fn checked(login: Login, prefix: &str, from: &str, errors: &mut Vec<FieldError>) -> Asked {
    match login_problem(&login.username, &login.password) {
        Some((_, problem)) => {
            errors.push(FieldError::new(format!("{prefix}_{from}"), problem));
            Asked::Nothing
        }
        None => Asked::Set(Credential::Login(login)),
    }
}

fn username_problem(username: &str) -> Option<&'static str> {
    if username.is_empty() {
        Some("the username is empty")
    } else if username.contains(':') {
        Some("the username has a colon in it, which HTTP cannot carry")
    } else if username.chars().any(char::is_control) {
        Some("the username has a control character in it: a line end, perhaps, behind what was meant")
    } else {
        None
    }
}

const TOKEN_HINT: &str = "make one that nobody guesses: `openssl rand -hex 32`";

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn asked(fields: Value) -> Result<Asked, Vec<String>> {
        let mut body = json!({"name": "corp", "registry_url": "r.io/team"});
        body.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        let text = body.to_string();
        let mut request: RegistryRequest = serde_json::from_str(&text).unwrap();
        let address = crate::registry::RegistrySpec {
            url: request.registry_url.clone(),
            ..Default::default()
        }
        .address();
        let mut errors = Vec::new();
        let asked = Family::pull(&mut request).asked(address.as_ref(), &mut errors);
        if errors.is_empty() {
            return Ok(asked);
        }
        let said = errors
            .into_iter()
            .map(|error| format!("{}: {}", error.field.unwrap(), error.message));
        Err(said.collect())
    }

    fn login(username: &str, password: &str) -> Asked {
        Asked::Set(Credential::Login(Login {
            username: username.to_owned(),
            password: Password::new(password.to_owned()),
        }))
    }

    #[test]
    fn a_credential_is_said_in_one_of_its_ways() {
        for (fields, expected) in [
            (json!({}), Asked::Nothing),
            (
                json!({"registry_username": "u", "registry_password": "p\"\\ü\u{1F600}"}),
                login("u", "p\"\\ü\u{1F600}"),
            ),
            (
                json!({"registry_username": "u", "registry_password": "p", "registry_docker_config": null}),
                login("u", "p"),
            ),
            (
                json!({"registry_docker_config": {"auths": {"r.io": {"auth": "dTpw"}}}}),
                login("u", "p"),
            ),
            (
                json!({"registry_docker_config": "{\"auths\": {\"r.io/team\": {\"username\": \"u\", \"password\": \"p\"}}}"}),
                login("u", "p"),
            ),
            (
                json!({"registry_username": "u", "registry_password_file": "/run/p"}),
                Asked::Set(Credential::File {
                    username: "u".to_owned(),
                    path: "/run/p".into(),
                }),
            ),
            (
                json!({"registry_username": "u", "registry_password_env": "P"}),
                Asked::Set(Credential::Environment {
                    username: "u".to_owned(),
                    variable: "P".to_owned(),
                }),
            ),
            (json!({"registry_username": "u"}), Asked::SameUser("u".to_owned())),
            (json!({"registry_password": null}), Asked::Clear),
            (json!({"registry_username": null}), Asked::Clear),
            (json!({"registry_docker_config": null}), Asked::Clear),
        ] {
            assert_eq!(asked(fields.clone()).unwrap(), expected, "{fields}");
        }
    }

    #[test]
    fn what_does_not_go_together_or_cannot_be_sent_is_refused_and_not_repeated() {
        for (fields, expected) in [
            (
                json!({"registry_password": "hunter2"}),
                "registry_username: it is missing: `registry_password` is given",
            ),
            (
                json!({"registry_username": "u", "registry_password": "hunter2", "registry_password_env": "P"}),
                "registry_password_env: `registry_password` is given, too",
            ),
            (
                json!({"registry_username": "u", "registry_docker_config": {}}),
                "registry_username: `registry_docker_config` is given, too",
            ),
            (
                json!({"registry_username": "u", "registry_password": null}),
                "registry_username: it is given without a password, which is to be removed",
            ),
            (
                json!({"registry_username": "u:hunter2", "registry_password": "p"}),
                "registry_username: the username has a colon in it, which HTTP cannot carry",
            ),
            (
                json!({"registry_username": "u", "registry_password": "hunter2\n"}),
                "registry_password: the password has a control character in it: a line end, perhaps, behind what was meant",
            ),
            (
                json!({"registry_username": "u", "registry_password_file": "hunter2"}),
                "registry_password_file: it is no absolute path: write it from `/` on",
            ),
            (
                json!({"registry_docker_config": {"auths": {"s.io": {"auth": "hunter2"}}}}),
                "registry_docker_config: it has no entry for r.io/team: those it has are for s.io",
            ),
        ] {
            let said = asked(fields.clone()).unwrap_err();
            assert_eq!(said, [expected], "{fields}");
            assert!(!said[0].contains("hunter2"), "{said:?}");
        }
    }
}
