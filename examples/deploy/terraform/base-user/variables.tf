variable "user_name" {
  description = "The user's name."
  type        = string
  default     = "berth"

  validation {
    condition     = can(regex("^[A-Za-z0-9_+=,.@-]{1,64}$", var.user_name))
    error_message = "The user's name must have 1 to 64 letters, digits and _+=,.@- only."
  }
}

variable "role_arns" {
  description = "The roles that it may assume; arn:aws:iam::*:role/PortOceanReadRole for the role of that name in every account."
  type        = list(string)

  validation {
    condition     = length(var.role_arns) > 0
    error_message = "Give at least one role."
  }
}

variable "create_access_key" {
  description = "Whether to create an access key too, kept in Secrets Manager under the names of Berth's variables. Its secret also stands in Terraform's state."
  type        = bool
  default     = false
}
