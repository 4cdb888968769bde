resource "aws_iam_role" "berth" {
  name               = var.role_name
  description        = "Berth assumes this role to read what is in the account."
  assume_role_policy = jsonencode(local.trust_policy)
}

resource "aws_iam_role_policy_attachment" "managed" {
  for_each   = toset(local.managed_policy_arns)
  role       = aws_iam_role.berth.name
  policy_arn = each.value
}

resource "aws_iam_policy" "read" {
  for_each    = local.read_policies
  name        = "${var.role_name}-${each.key}"
  description = "What Berth's bundled plugins read."
  policy      = jsonencode(each.value)
}

resource "aws_iam_role_policy_attachment" "read" {
  for_each   = aws_iam_policy.read
  role       = aws_iam_role.berth.name
  policy_arn = each.value.arn
}

resource "aws_iam_role_policy" "inline" {
  for_each = local.inline_policies
  name     = each.key
  role     = aws_iam_role.berth.name
  policy   = jsonencode(each.value)
}
