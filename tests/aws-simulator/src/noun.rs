//! What the names of members mean: `DBClusterArn` is the ARN of a `dbcluster`.

/// How a value names a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// `vpc-0a1b…`
    Id,
    /// `table-0a1b…`
    Name,
    /// `arn:aws:…`
    Arn,
    /// `https://…`
    Url,
}

const FORMS: [(&str, Form); 8] = [
    ("Identifier", Form::Name),
    ("Arn", Form::Arn),
    ("ARN", Form::Arn),
    ("Name", Form::Name),
    ("Url", Form::Url),
    ("Uri", Form::Url),
    ("Id", Form::Id),
    ("ID", Form::Id),
];

/// The form and the noun of a member's name; the noun is empty for a bare `Arn`, `id` or `Name`.
/// Nothing for a name that names no resource.
pub(crate) fn form(member: &str) -> Option<(Form, String)> {
    // An ARN, whatever it is called.
    if member == "StackId" {
        return Some((Form::Arn, "stack".to_owned()));
    }
    for (suffix, form) in FORMS {
        if let Some(noun) = member.strip_suffix(suffix) {
            return Some((form, plain(noun)));
        }
        if member == suffix.to_ascii_lowercase() {
            return Some((form, String::new()));
        }
    }
    None
}

/// Lower-case letters and digits only.
pub(crate) fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
}

/// One of several: `policies` are each a `policy`.
pub(crate) fn singular(name: &str) -> String {
    match name {
        _ if name.ends_with("ies") => format!("{}y", &name[..name.len() - 3]),
        _ if name.ends_with("sses") || name.ends_with("uses") => name[..name.len() - 2].to_owned(),
        _ if name.ends_with('s') && !name.ends_with("ss") && !name.ends_with("us") => {
            name[..name.len() - 1].to_owned()
        }
        _ => name.to_owned(),
    }
}

/// What an operation lists: `DescribeDBClusters` lists each `dbcluster`.
pub(crate) fn of_operation(operation: &str) -> String {
    let rest = ["Describe", "List", "Get"].iter().find_map(|verb| operation.strip_prefix(verb));
    let rest = rest.unwrap_or(operation);
    let unversioned = rest.strip_suffix("V2").unwrap_or(rest);
    singular(&plain(unversioned))
}

/// What a list's name says of its elements: `CertificateSummaryList` has each a `certificatesummary`.
/// Nothing for `Items`.
pub(crate) fn of_list(list: &str) -> Option<String> {
    let noun = singular(&plain(list.strip_suffix("List").unwrap_or(list)));
    (noun != "item").then_some(noun)
}

/// What stands before an id: EC2's own words, else the noun.
pub(crate) fn prefix(noun: &str) -> &str {
    match noun {
        "instance" => "i",
        "reservation" => "r",
        "volume" => "vol",
        "securitygroup" | "group" => "sg",
        "networkinterface" => "eni",
        "internetgateway" => "igw",
        "natgateway" => "nat",
        "routetable" => "rtb",
        "snapshot" => "snap",
        "image" => "ami",
        "filesystem" => "fs",
        "hostedzone" => "/hostedzone/Z",
        noun => noun,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_show_form_and_noun() {
        for (name, expected) in [
            ("VpcId", Some((Form::Id, "vpc"))),
            ("DBClusterIdentifier", Some((Form::Name, "dbcluster"))),
            ("clusterArn", Some((Form::Arn, "cluster"))),
            ("ARN", Some((Form::Arn, ""))),
            ("id", Some((Form::Id, ""))),
            ("QueueUrl", Some((Form::Url, "queue"))),
            ("Status", None),
            ("Valid", None),
        ] {
            assert_eq!(form(name), expected.map(|(form, noun)| (form, noun.to_owned())), "{name}");
        }
    }

    #[test]
    fn operations_and_lists_show_what_they_list() {
        assert_eq!(of_operation("DescribeDBClusters"), "dbcluster");
        assert_eq!(of_operation("ListClustersV2"), "cluster");
        assert_eq!(of_operation("ListEventBuses"), "eventbus");
        assert_eq!(of_list("CertificateSummaryList").as_deref(), Some("certificatesummary"));
        assert_eq!(of_list("items"), None);
    }
}
