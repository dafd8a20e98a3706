# What only Google Cloud has.

variable "invokers" {
  description = "Who may send requests at all, before Trefoil asks for an app's key: IAM members. allUsers makes it public. Others send their ID token as X-Serverless-Authorization."
  type        = set(string)
  default     = ["allUsers"]
  nullable    = false

  validation {
    condition     = alltrue([for member in var.invokers : can(regex("^(allUsers|allAuthenticatedUsers|(user|serviceAccount|group|domain):.+)$", member))])
    error_message = "Write IAM members, such as allUsers or serviceAccount:NAME@PROJECT.iam.gserviceaccount.com."
  }
}
