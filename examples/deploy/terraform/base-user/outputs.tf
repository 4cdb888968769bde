output "user_arn" {
  description = "For the trusted_principal_arn of the member roles."
  value       = aws_iam_user.berth.arn
}

output "access_key_secret_arn" {
  description = "Where the access key is, if one was created."
  value       = one(aws_secretsmanager_secret.access_key[*].arn)
}
