resource "aws_iam_user" "berth" {
  name = var.user_name
}

resource "aws_iam_user_policy" "inline" {
  for_each = local.inline_policies
  name     = each.key
  user     = aws_iam_user.berth.name
  policy   = jsonencode(each.value)
}

resource "aws_iam_access_key" "berth" {
  count = var.create_access_key ? 1 : 0
  user  = aws_iam_user.berth.name
}

resource "aws_secretsmanager_secret" "access_key" {
  count       = var.create_access_key ? 1 : 0
  name        = "${var.user_name}-access-key"
  description = "The access key that Berth runs with."
}

resource "aws_secretsmanager_secret_version" "access_key" {
  count     = var.create_access_key ? 1 : 0
  secret_id = aws_secretsmanager_secret.access_key[0].id
  secret_string = jsonencode({
    OCEAN__INTEGRATION__CONFIG__AWS_ACCESS_KEY_ID     = aws_iam_access_key.berth[0].id
    OCEAN__INTEGRATION__CONFIG__AWS_SECRET_ACCESS_KEY = aws_iam_access_key.berth[0].secret
  })
}
