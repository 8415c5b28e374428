//! Does the same to several things: every one is tried, and the first refusal is the error of the command.

use super::error::CliError;
use super::{refusal, text};
use crate::client::ClientError;

#[derive(Default)]
pub(super) struct Each {
    first_refusal: Option<ClientError>,
}

impl Each {
    /// What came of one of them; `None` where it was refused. The first refusal is told at the end, the others now.
    pub(super) fn of<T>(&mut self, thing: &str, result: Result<T, ClientError>) -> Result<Option<T>, ClientError> {
        match result {
            Ok(answer) => Ok(Some(answer)),
            Err(ClientError::Refused(problem)) if self.first_refusal.is_some() => {
                eprintln!("{}: {}", text::line(thing), text::lines(&refusal::said(&problem)));
                Ok(None)
            }
            Err(error @ ClientError::Refused(_)) => {
                self.first_refusal = Some(error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn end(self) -> Result<(), CliError> {
        self.first_refusal.map_or(Ok(()), |refusal| Err(refusal.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Problem;

    #[test]
    fn the_first_refusal_is_the_error_and_all_are_tried() {
        let refused = |status| Err(ClientError::Refused(Box::new(Problem { status, ..Problem::default() })));
        let mut each = Each::default();
        let results = [Ok(1), refused(404), Ok(2), refused(409)];
        let came = results.map(|result| each.of("a", result).expect("told or done"));
        assert_eq!(came, [Some(1), None, Some(2), None]);
        let error = each.end().expect_err("refused");
        assert!(matches!(error, CliError::Client(ClientError::Refused(problem)) if problem.status == 404));
    }
}
