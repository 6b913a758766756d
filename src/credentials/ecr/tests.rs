use super::*;
#[derive(Clone, Debug, Default)]
pub(super) struct World {}
impl World {
    pub(super) fn instead(&self, l: aws_config::ConfigLoader) -> aws_config::ConfigLoader {
        l
    }
    pub(super) fn variable(&self, _: &str) -> Option<String> {
        None
    }
}
