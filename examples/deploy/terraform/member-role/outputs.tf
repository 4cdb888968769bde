output "role_arn" {
  description = "For Berth's accountRoleArns."
  value       = aws_iam_role.berth.arn
}
