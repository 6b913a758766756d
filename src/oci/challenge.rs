//! `WWW-Authenticate`: how somebody who refused wants to be asked (RFC 9110, sections 11.2, 11.3 and 11.6.1).
//!
//! The header is a list of challenges, each of which has a list of parameters, with the same commas between both. What is not understood is
//! left out, and what is read is bounded: whoever wrote it may be anybody.

/// One way in which somebody wants to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// `basic`, `bearer` and others, in lower case.
    pub scheme: String,
    /// Names in lower case, and values without quotes. Of two with one name the first one counts.
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The value of a parameter, whose name is in lower case.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(present, _)| present == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// All challenges of the headers of an answer, in their order.
pub fn parse<'h>(headers: impl IntoIterator<Item = &'h [u8]>) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    for header in headers.into_iter().take(MOST_CHALLENGES) {
        let header = &header[..header.len().min(LONGEST_HEADER)];
        let mut reader = Reader { rest: header };
        reader.list(&mut challenges);
    }
    challenges
}

struct Reader<'h> {
    rest: &'h [u8],
}

impl<'h> Reader<'h> {
    fn list(&mut self, challenges: &mut Vec<Challenge>) {
        // A parameter belongs to the challenge before it in the same header.
        let mut open = false;
        loop {
            self.skip(|byte| matches!(byte, b' ' | b'\t' | b','));
            if self.rest.is_empty() {
                return;
            }
            let Some(word) = self.token() else {
                self.skip_element();
                continue;
            };
            if open && self.parameter(word, challenges.last_mut()) {
                continue;
            }
            if challenges.len() == MOST_CHALLENGES {
                return;
            }
            if !matches!(self.rest.first(), None | Some(b' ' | b'\t' | b',')) {
                // `name=value` with nobody to belong to, or rubbish.
                self.skip_element();
                continue;
            }
            challenges.push(Challenge {
                scheme: word.to_ascii_lowercase(),
                parameters: Vec::new(),
            });
            open = true;
            self.token68();
        }
    }

    /// Reads what is behind the name of a parameter. Nothing is read where it was none.
    fn parameter(&mut self, name: &str, challenge: Option<&mut Challenge>) -> bool {
        let begin = self.rest;
        self.skip(is_blank);
        if self.rest.first() != Some(&b'=') {
            self.rest = begin;
            return false;
        }
        self.rest = &self.rest[1..];
        self.skip(is_blank);
        let value = match self.rest.first() {
            Some(b'"') => self.quoted(),
            _ => self.token().map(str::to_owned),
        };
        let name = name.to_ascii_lowercase();
        match (value, challenge) {
            (Some(value), Some(challenge)) => {
                if challenge.parameter(&name).is_none() && challenge.parameters.len() < MOST_PARAMETERS {
                    challenge.parameters.push((name, value));
                }
            }
            _ => self.skip_element(),
        }
        true
    }

    /// `Negotiate YII=`: base64 in place of parameters. Nothing is read where there is none.
    fn token68(&mut self) {
        let begin = self.rest;
        self.skip(is_blank);
        self.skip(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte));
        self.skip(|byte| byte == b'=');
        self.skip(is_blank);
        // A token before a comma might be the next scheme only if the comma came first.
        if !matches!(self.rest.first(), None | Some(b',')) {
            self.rest = begin;
        }
    }

    fn token(&mut self) -> Option<&'h str> {
        let begin = self.rest;
        self.skip(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
        let token = &begin[..begin.len() - self.rest.len()];
        std::str::from_utf8(token).ok().filter(|token| !token.is_empty())
    }

    /// A quoted string; none where it does not end, or is no text.
    fn quoted(&mut self) -> Option<String> {
        let mut value = Vec::new();
        let mut at = 1;
        loop {
            match self.rest.get(at)? {
                b'"' => break,
                b'\\' => {
                    value.push(*self.rest.get(at + 1)?);
                    at += 2;
                }
                byte => {
                    value.push(*byte);
                    at += 1;
                }
            }
        }
        self.rest = &self.rest[at + 1..];
        String::from_utf8(value).ok()
    }

    /// Goes on behind the next comma that is not in quotes.
    fn skip_element(&mut self) {
        let mut quoted = false;
        let mut at = 0;
        while let Some(byte) = self.rest.get(at) {
            match byte {
                b'"' => quoted = !quoted,
                b'\\' if quoted => at += 1,
                b',' if !quoted => break,
                _ => {}
            }
            at += 1;
        }
        self.rest = self.rest.get(at + 1..).unwrap_or_default();
    }

    fn skip(&mut self, which: impl Fn(u8) -> bool) {
        while let [first, rest @ ..] = self.rest
            && which(*first)
        {
            self.rest = rest;
        }
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Registries send one or two, with three or four parameters each.
const MOST_CHALLENGES: usize = 16;
const MOST_PARAMETERS: usize = 16;
const LONGEST_HEADER: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(header: &str) -> Vec<Challenge> {
        parse([header.as_bytes()])
    }

    /// As `scheme name=value name=value; scheme`.
    fn shown(challenges: &[Challenge]) -> String {
        let one = |challenge: &Challenge| {
            let parameters = challenge
                .parameters
                .iter()
                .map(|(name, value)| format!(" {name}={value}"));
            format!("{}{}", challenge.scheme, parameters.collect::<String>())
        };
        challenges.iter().map(one).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn challenges_are_read_as_registries_and_attackers_write_them() {
        for (header, expected) in [
            ("", ""),
            (" , ,", ""),
            (r#"Basic realm="Registry""#, "basic realm=Registry"),
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
                "bearer realm=https://auth.docker.io/token service=registry.docker.io scope=repository:a/b:pull,push",
            ),
            (r#"BEARER REALM="X" , Service = y"#, "bearer realm=X service=y"),
            // Two of them, and the commas mean two things.
            (
                r#"Bearer realm="a",service="b", Basic realm="c""#,
                "bearer realm=a service=b; basic realm=c",
            ),
            ("Basic, Bearer realm=a", "basic; bearer realm=a"),
            ("Negotiate, NTLM", "negotiate; ntlm"),
            ("Negotiate YII+/a==, Basic realm=x", "negotiate; basic realm=x"),
            (
                r#"Newauth realm="apps", type=1, title="Login to \"apps\"", Basic realm="simple""#,
                r#"newauth realm=apps type=1 title=Login to "apps"; basic realm=simple"#,
            ),
            // A comma, an equals sign and a scheme in quotes are text.
            (
                r#"Basic realm="a, Bearer realm=b", x=y"#,
                "basic realm=a, Bearer realm=b x=y",
            ),
            // The first one counts.
            ("Bearer realm=a, realm=b, REALM=c", "bearer realm=a"),
            // What nobody can read is left out, and what follows is read.
            ("realm=a, Basic realm=b", "basic realm=b"),
            (r#"Bearer realm="never ends, service=x"#, "bearer"),
            ("Bearer realm=, service=x", "bearer service=x"),
            ("=, ;;;, \u{1}, Basic realm=b", "basic realm=b"),
            (r#"Bearer realm="a"b"c, Basic realm=d"#, "bearer realm=a"),
        ] {
            assert_eq!(shown(&read(header)), expected, "{header}");
        }
        let two = parse([&b"Basic realm=a"[..], b"Bearer realm=b"]);
        assert_eq!(shown(&two), "basic realm=a; bearer realm=b");
        assert_eq!(shown(&parse([&b"Basic realm=a, x=\"\xff\""[..]])), "basic realm=a");
    }

    #[test]
    fn of_what_is_too_much_only_the_beginning_is_read() {
        assert_eq!(read(&"Basic,".repeat(1_000)).len(), MOST_CHALLENGES);
        let many: String = (0..1_000).map(|number| format!("p{number}=x,")).collect();
        let challenges = read(&format!("Basic {many}"));
        assert_eq!(challenges[0].parameters.len(), MOST_PARAMETERS);
        assert_eq!(
            read(&format!("Basic realm=\"{}\"", "x".repeat(LONGEST_HEADER)))[0].parameter("realm"),
            None
        );
    }

    fn token() -> impl Strategy<Value = String> {
        "[a-z][a-z0-9!#$%&'*+.^_`|~-]{0,10}"
    }

    prop_compose! {
        fn challenge()(
            scheme in token(),
            parameters in proptest::collection::btree_map(token(), "[ -~]{0,20}", 0..5),
        ) -> Challenge {
            Challenge { scheme, parameters: parameters.into_iter().collect() }
        }
    }

    proptest! {
        #[test]
        fn what_was_written_well_is_read_as_it_was_meant(
            challenges in proptest::collection::vec(challenge(), 0..4), upper: bool, blank in "[ \t]{0,2}",
        ) {
            let quoted = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"");
            let one = |challenge: &Challenge| {
                let scheme = if upper { challenge.scheme.to_ascii_uppercase() } else { challenge.scheme.clone() };
                let parameters: Vec<_> = challenge
                    .parameters
                    .iter()
                    .map(|(name, value)| format!("{name}{blank}={blank}\"{}\"", quoted(value)))
                    .collect();
                if parameters.is_empty() { scheme } else { format!("{scheme} {}", parameters.join(&format!("{blank},{blank}"))) }
            };
            let header = challenges.iter().map(one).collect::<Vec<_>>().join(", ");
            prop_assert_eq!(read(&header), challenges, "{}", header);
        }

        #[test]
        fn nothing_that_anybody_writes_does_any_harm(header in proptest::collection::vec(any::<u8>(), 0..300)) {
            let challenges = parse([header.as_slice()]);
            prop_assert!(challenges.len() <= MOST_CHALLENGES);
        }

        #[test]
        fn nothing_that_looks_like_a_challenge_does_any_harm(header in r#"([a-z]{1,3}|[ ,="\\]){0,60}"#) {
            for challenge in read(&header) {
                prop_assert!(!challenge.scheme.is_empty());
            }
        }
    }
}
