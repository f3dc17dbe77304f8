//! What the examples share: flags from the command line, and the end of `main`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use lexopt::Arg;

/// Runs an example: an error is one line on standard error and exit code 2.
pub fn run(example: impl FnOnce() -> Result<(), String>) -> ExitCode {
    match example() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// The flags of the command line, one after the other.
pub struct Flags {
    parser: lexopt::Parser,
    /// The flag whose value comes next.
    flag: String,
}

#[allow(dead_code)] // Each example uses its part.
impl Flags {
    pub fn from_env() -> Self {
        Self { parser: lexopt::Parser::from_env(), flag: String::new() }
    }

    /// The next flag, such as `--seed`, or a word that belongs to none.
    pub fn next(&mut self) -> Result<Option<String>, String> {
        let flag = match self.parser.next().map_err(|error| hint(&error.to_string()))? {
            None => return Ok(None),
            Some(Arg::Long(name)) => format!("--{name}"),
            Some(Arg::Short(letter)) => format!("-{letter}"),
            Some(Arg::Value(word)) => word.to_string_lossy().into_owned(),
        };
        self.flag.clone_from(&flag);
        Ok(Some(flag))
    }

    /// The error for a flag that the example does not have.
    pub fn unknown<T>(&self) -> Result<T, String> {
        Err(hint(&format!("`{}` is no flag of this example", self.flag)))
    }

    pub fn text(&mut self, expected: &str) -> Result<String, String> {
        let value = self.parser.value().map_err(|_| format!("{} needs {expected}", self.flag))?;
        value.into_string().map_err(|_| format!("{} needs text in UTF-8", self.flag))
    }

    pub fn path(&mut self) -> Result<PathBuf, String> {
        let value = self.parser.value().map_err(|_| format!("{} needs a path", self.flag))?;
        Ok(value.into())
    }

    /// A number for which `valid` holds; `expected` says so in words.
    pub fn number<T: FromStr>(
        &mut self,
        expected: &str,
        valid: impl Fn(&T) -> bool,
    ) -> Result<T, String> {
        let text = self.text(expected)?;
        let number = text.parse().ok().filter(valid);
        number.ok_or_else(|| format!("{} needs {expected}, found `{text}`", self.flag))
    }

    /// A count of something, at least one.
    pub fn count(&mut self) -> Result<usize, String> {
        self.number("a whole number from 1 on", |n| (1..=1_000_000_000).contains(n))
    }

    pub fn seed(&mut self) -> Result<u64, String> {
        self.number("a whole number", |_| true)
    }

    pub fn positive(&mut self) -> Result<f64, String> {
        self.number("a number above 0", |&x: &f64| x.is_finite() && x > 0.0)
    }
}

fn hint(error: &str) -> String {
    format!("{error}; `--help` lists the flags")
}
