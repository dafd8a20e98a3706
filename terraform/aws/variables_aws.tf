# What only AWS has.

variable "rest_api" {
  description = <<-EOT
    A REST API in front of the function, beside its URL or in place of it; null for none, {} for one with these defaults.
    requests_per_second: the flood cap of all callers together, and how many more may come at once; what is more gets 429.
    web_acl_arn: a regional web ACL of AWS WAF, to filter requests.
    domain_name, certificate_arn: a domain of one's own, and its certificate in ACM in the same region.
    access_logs: one line a request, without headers, path, query and body. Needs the account's log role:
    account_log_role: makes that role. There is one for all REST APIs of account and region: leave false where it is set.
  EOT
  type = object({
    requests_per_second = optional(number, 100)
    web_acl_arn         = optional(string)
    domain_name         = optional(string)
    certificate_arn     = optional(string)
    access_logs         = optional(bool, true)
    account_log_role    = optional(bool, false)
  })
  default = null

  validation {
    condition     = try(var.rest_api.requests_per_second >= 1 && var.rest_api.requests_per_second <= 10000 && floor(var.rest_api.requests_per_second) == var.rest_api.requests_per_second, var.rest_api == null)
    error_message = "requests_per_second: write a whole number from 1 to 10000."
  }
  validation {
    condition     = try(var.rest_api.web_acl_arn, null) == null || can(regex("^arn:aws:wafv2:${var.region}:[0-9]{12}:regional/webacl/", var.rest_api.web_acl_arn))
    error_message = "web_acl_arn: write the ARN of a regional web ACL in the same region."
  }
  validation {
    condition     = try(var.rest_api.certificate_arn, null) == null || can(regex("^arn:aws:acm:${var.region}:[0-9]{12}:certificate/", var.rest_api.certificate_arn))
    error_message = "certificate_arn: write the ARN of a certificate in the same region."
  }
  validation {
    condition     = (try(var.rest_api.domain_name, null) == null) == (try(var.rest_api.certificate_arn, null) == null)
    error_message = "domain_name and certificate_arn belong together."
  }
  validation {
    condition     = try(var.rest_api.domain_name, null) == null || can(regex("^([a-z0-9]([a-z0-9-]*[a-z0-9])?[.])+[a-z]{2,}$", var.rest_api.domain_name))
    error_message = "domain_name: write a name such as llm.example.com."
  }
}

variable "function_url" {
  description = "Whether the function has a URL, which costs nothing but passes by the firewall and the domain of rest_api."
  type        = bool
  default     = true
  nullable    = false

  validation {
    condition     = var.function_url || var.rest_api != null
    error_message = "Without its URL, nobody reaches the function but by rest_api."
  }
}

variable "endpoint" {
  description = "Where an emulator of AWS answers, for tests; null for AWS itself."
  type        = string
  default     = null

  validation {
    condition     = var.endpoint == null || can(regex("^http://(127[.]0[.]0[.]1|localhost):[0-9]+$", var.endpoint))
    error_message = "Write the address of an emulator on this machine, such as http://127.0.0.1:5000."
  }
}
