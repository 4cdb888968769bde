variable "role_name" {
  description = "The role's name. The same in every account."
  type        = string
  default     = "PortOceanReadRole"

  validation {
    condition     = can(regex("^[A-Za-z0-9_+=,.@-]{1,64}$", var.role_name))
    error_message = "The role's name must have 1 to 64 letters, digits and _+=,.@- only."
  }
}

variable "trusted_principal_arn" {
  description = "The IAM user or role that Berth runs as, as in arn:aws:iam::999999999999:user/berth."
  type        = string

  validation {
    condition     = can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:(user|role)/[A-Za-z0-9_+=,.@/-]+$", var.trusted_principal_arn))
    error_message = "The trusted principal must be the ARN of an IAM user or role."
  }
}

variable "external_id" {
  description = "What Berth must send to assume the role. Any text that others cannot guess."
  type        = string
  sensitive   = true

  validation {
    condition     = can(regex("^[A-Za-z0-9_+=,.@:/-]{2,}$", var.external_id)) && length(var.external_id) <= 1224
    error_message = "The external ID must have 2 to 1224 letters, digits and _+=,.@:/- only."
  }
}

variable "permissions" {
  description = "AWS's own ReadOnlyAccess, or (LeastPrivilege) no more than the bundled plugins read."
  type        = string
  default     = "ReadOnlyAccess"

  validation {
    condition     = contains(["ReadOnlyAccess", "LeastPrivilege"], var.permissions)
    error_message = "Use ReadOnlyAccess or LeastPrivilege."
  }
}

variable "management_account" {
  description = "Whether this role finds the accounts of the organization (in its management account, or a delegated one)."
  type        = bool
  default     = false
}

variable "partition" {
  description = "The partition, as in the ARNs of its roles: aws, aws-us-gov, aws-cn, aws-eusc, …"
  type        = string
  default     = "aws"
}
