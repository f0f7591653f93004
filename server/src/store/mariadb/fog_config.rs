//! FOG's own configuration: where its database is, and who may use it.
//!
//! Two files have it: `.fogsettings` of the installer (assignments of a shell), and `config.class.php` of the
//! web application (constants). They are read, never run.

use super::location::Location;

/// What FOG uses.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct FogConfig {
    host: String,
    user: String,
    database: String,
    pub(super) password: String,
}

impl FogConfig {
    /// Reads one of the files; `None` if it names no user of a database.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let constants = constants(text);
        let settings = assignments(text);
        let value = |constant: &str, names: &[&str]| {
            let of_constant = constants.iter().rev().find(|(name, _)| name == constant);
            let mut settings = settings.iter().rev();
            let found =
                of_constant.or_else(|| settings.find(|(name, _)| names.contains(&name.as_str())));
            found
                .map(|(_, value)| value.clone())
                .filter(|value| !value.is_empty())
        };
        let host = value("DATABASE_HOST", &["snmysqlhost"]);
        let host = host.unwrap_or_else(|| "localhost".to_owned());
        // PHP's way to ask for a connection that stays.
        let host = host.strip_prefix("p:").unwrap_or(&host).to_owned();
        Some(Self {
            host,
            user: value("DATABASE_USERNAME", &["snmysqluser"])?,
            database: value("DATABASE_NAME", &["mysqldbname"]).unwrap_or_else(|| "fog".to_owned()),
            password: value("DATABASE_PASSWORD", &["snmysqlpass"]).unwrap_or_default(),
        })
    }

    pub(super) fn location(&self) -> Location {
        Location::of_parts(&self.host, &self.user, &self.database)
    }
}

impl std::fmt::Debug for FogConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FogConfig").finish_non_exhaustive()
    }
}

/// The constants of a PHP program whose name and value are plain texts, in their order.
fn constants(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if rest.starts_with("//") || first == '#' {
            rest = rest
                .find('\n')
                .and_then(|end| rest.get(end..))
                .unwrap_or("");
        } else if rest.starts_with("/*") {
            rest = rest
                .find("*/")
                .and_then(|end| rest.get(end + 2..))
                .unwrap_or("");
        } else if matches!(first, '\'' | '"') {
            rest = quoted(rest, Quotes::Php).map_or("", |(_, after)| after);
        } else if let Some((constant, after)) = constant(rest) {
            found.push(constant);
            rest = after;
        } else {
            rest = rest.get(first.len_utf8()..).unwrap_or("");
        }
    }
    found
}

/// `define('NAME', 'value'`, and what follows.
fn constant(text: &str) -> Option<((String, String), &str)> {
    let rest = text.strip_prefix("define")?.trim_start();
    let rest = rest.strip_prefix('(')?.trim_start();
    let (name, rest) = quoted(rest, Quotes::Php)?;
    let rest = rest.trim_start().strip_prefix(',')?.trim_start();
    let (value, rest) = quoted(rest, Quotes::Php)?;
    // Not the first part of an expression.
    rest.trim_start().starts_with(')').then_some(())?;
    Some(((name, value), rest))
}

/// The assignments of a shell script, each on a line of its own, in their order.
fn assignments(text: &str) -> Vec<(String, String)> {
    let assignment = |line: &str| {
        let (name, value) = line.trim().split_once('=')?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(is_name) {
            return None;
        }
        let value = match value.chars().next() {
            Some('\'' | '"') => quoted(value, Quotes::Shell)?.0,
            _ => value.split_whitespace().next().unwrap_or("").to_owned(),
        };
        Some((name.to_owned(), value))
    };
    text.lines().filter_map(assignment).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    Php,
    Shell,
}

/// A text in quotes, and what follows it.
fn quoted(text: &str, quotes: Quotes) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == quote {
            let rest = text.get(at + 1..)?;
            // How a shell writes a quote in such a text.
            if let (Quotes::Shell, '\'', Some(rest)) = (quotes, quote, rest.strip_prefix("\\''")) {
                let (more, rest) = quoted_from(rest)?;
                return Some((format!("{value}'{more}"), rest));
            }
            return Some((value, rest));
        }
        // The shell has no escapes between single quotes.
        if c != '\\' || (quotes == Quotes::Shell && quote == '\'') {
            value.push(c);
            continue;
        }
        let (_, next) = chars.next()?;
        let is_escaped =
            next == quote || next == '\\' || (quote == '"' && matches!(next, '$' | '`'));
        if !is_escaped {
            value.push('\\');
        }
        value.push(next);
    }
    None
}

/// The rest of a text between single quotes.
fn quoted_from(text: &str) -> Option<(String, &str)> {
    let end = text.find('\'')?;
    let (value, rest) = (text.get(..end)?, text.get(end + 1..)?);
    match rest.strip_prefix("\\''") {
        Some(rest) => {
            let (more, rest) = quoted_from(rest)?;
            Some((format!("{value}'{more}"), rest))
        }
        None => Some((value.to_owned(), rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (String, String) {
        let config = FogConfig::parse(text).unwrap();
        (config.location().to_string(), config.password)
    }

    #[test]
    fn the_installers_file_is_read() {
        let text = "## Start of FOG Settings\n\
            ipaddress='198.51.100.5'\n\
            snmysqluser='fogmaster'\n\
            snmysqlpass='it'\\''s a $ecret\\'\n\
            snmysqlhost=\"db.example\"\n\
            mysqldbname=fogdb\n\
            #snmysqluser='other'\n";
        let (location, password) = read(text);
        assert_eq!(location, "MariaDB at db.example:3306, database fogdb");
        assert_eq!(password, "it's a $ecret\\");
        let (_, password) = read("snmysqluser='u'\nsnmysqlpass=\"a\\\"b\\$c\\d\"");
        assert_eq!(password, "a\"b$c\\d");
    }

    #[test]
    fn the_web_applications_file_is_read() {
        let text = r#"<?php
            // define('DATABASE_HOST', 'no');
            # define('DATABASE_HOST', 'no');
            /* define('DATABASE_HOST', 'no'); */
            class Config {
                public static function init() {
                    define('DATABASE_TYPE', 'mysql');
                    define('DATABASE_HOST', 'p:127.0.0.1:3307');
                    define( "DATABASE_NAME" , "fog" );
                    define('DATABASE_USERNAME','fogmaster');
                    define('DATABASE_PASSWORD', 'a\'b\\c\d"');
                    define('OTHER', "define('DATABASE_HOST', 'no')");
                    define('DATABASE_USERNAME' . 'x', 'no');
                    define('STORAGE_HOST', DATABASE_HOST);
                }
            }"#;
        let (location, password) = read(text);
        assert_eq!(location, "MariaDB at 127.0.0.1:3307, database fog");
        assert_eq!(password, "a'b\\c\\d\"");
    }

    #[test]
    fn what_names_no_user_is_no_configuration() {
        for text in [
            "",
            "<?php",
            "snmysqluser=''",
            "snmysqluser='never ends",
            "define('DATABASE_USERNAME', ",
            "define('DATABASE_USERNAME', $user);",
            "define('DATABASE_USERNAME', 'a' . 'b');",
            "äö'\\",
        ] {
            assert_eq!(FogConfig::parse(text), None, "{text}");
        }
    }

    #[test]
    fn no_password_is_in_what_is_printed_for_debugging() {
        let config = FogConfig::parse("snmysqluser='u'\nsnmysqlpass='geheim'").unwrap();
        assert!(!format!("{config:?}").contains("geheim"));
    }
}
