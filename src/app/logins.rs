//! From credentials to usernames and passwords: some say where the password is.

use std::time::Duration;

use tokio::time::timeout;

use crate::registry::{Credential, Login, Password};

/// The username and the password, as they are at this moment.
///
/// # Errors
///
/// When the file or the variable that has the password has none, in a sentence.
pub(super) async fn login(credential: &Credential) -> Result<Login, String> {
    let (username, password) = match credential {
        Credential::Login(login) => return Ok(login.clone()),
        Credential::File { username, path } => {
            let read = timeout(DEADLINE, tokio::fs::read_to_string(path)).await;
            let text = match read {
                Ok(Ok(text)) => Password::new(text),
                Ok(Err(error)) => {
                    return Err(format!(
                        "its password cannot be read from `{}`: {error}",
                        path.display()
                    ));
                }
                Err(_) => return Err(format!("its password cannot be read from `{}` in time", path.display())),
            };
            // Editors end a file with a line end.
            let password = Password::new(text.expose().trim_end_matches(['\r', '\n']).to_owned());
            if password.expose().is_empty() {
                return Err(format!("the file of its password is empty: `{}`", path.display()));
            }
            (username, password)
        }
        Credential::Environment { username, variable } => match std::env::var(variable) {
            Ok(password) if !password.is_empty() => (username, Password::new(password)),
            Ok(_) => return Err(format!("the variable of its password is empty: {variable}")),
            Err(_) => return Err(format!("the variable of its password is not set: {variable}")),
        },
    };
    Ok(Login {
        username: username.clone(),
        password,
    })
}

/// Whether the password may become another one without anybody saying so.
pub(super) fn is_elsewhere(credential: &Credential) -> bool {
    !matches!(credential, Credential::Login(_))
}

const DEADLINE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_read_from_where_it_is_or_it_is_said_what_is_wrong_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        let at = Credential::File {
            username: "u".to_owned(),
            path: path.clone(),
        };
        assert!(login(&at).await.unwrap_err().contains("cannot be read from"));
        std::fs::write(&path, "\n").unwrap();
        assert!(login(&at).await.unwrap_err().contains("is empty"));
        std::fs::write(&path, " p \r\n").unwrap();
        assert_eq!(login(&at).await.unwrap().password.expose(), " p ");
        let variable = Credential::Environment {
            username: "u".to_owned(),
            variable: "WAYPOST_TEST_NOBODY_SETS_THIS".to_owned(),
        };
        assert!(login(&variable).await.unwrap_err().contains("is not set"));
    }
}
