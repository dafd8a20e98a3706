# What an operator can set, the same on every cloud: one variable file deploys to all three. What only one cloud has stands
# in variables_<cloud>.tf. This file is the same in all three folders; a test compares them.

variable "name" {
  description = "What everything that is made here is called, such as trefoil or trefoil-staging."
  type        = string
  default     = "trefoil"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,14}[a-z0-9]$", var.name))
    error_message = "Write 3 to 16 lower-case letters, digits and hyphens; a letter first, no hyphen last."
  }
}

variable "region" {
  description = "Where to deploy, as the cloud calls it: eu-central-1 on AWS, westeurope on Azure, europe-west1 on Google Cloud."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]+$", var.region))
    error_message = "Write the cloud's name of the region, such as eu-central-1, westeurope or europe-west1."
  }
}

variable "account" {
  description = "Whose bill it is: the AWS account id (12 digits), the Azure subscription id (a UUID), or the Google Cloud project id."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{4,35}$", var.account))
    error_message = "Write the AWS account id, the Azure subscription id or the Google Cloud project id."
  }
}

variable "package_path" {
  description = "The zip to deploy, as `make package` builds it; null for build/<cloud>.zip of this checkout."
  type        = string
  default     = null

  validation {
    condition     = var.package_path == null || can(regex("[.]zip$", var.package_path))
    error_message = "Write the path of a zip that `make package` built."
  }
}

variable "config_file" {
  description = "The trefoil.toml that `make deploy` packs: upstreams, models, limits. Relative to the repository's root; null for the one that lies there."
  type        = string
  default     = null

  validation {
    condition     = var.config_file == null || can(regex("[.]toml$", var.config_file))
    error_message = "Write the path of a .toml file."
  }
}

variable "architecture" {
  description = "AWS only: the processors that the function runs on, for which `make deploy` builds the package. The other clouds have x86_64."
  type        = string
  default     = "arm64"
  nullable    = false

  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "Write arm64 or x86_64."
  }
}

variable "memory_mb" {
  description = "Memory of one instance, in MB."
  type        = number
  default     = 512
  nullable    = false

  validation {
    condition     = contains([512, 2048, 4096], var.memory_mb)
    error_message = "Write 512, 2048 or 4096: the sizes that all three clouds have."
  }
}

variable "timeout_seconds" {
  description = "How long a request may take, a streamed answer included."
  type        = number
  default     = 600
  nullable    = false

  validation {
    condition     = var.timeout_seconds >= 30 && var.timeout_seconds <= 900 && floor(var.timeout_seconds) == var.timeout_seconds
    error_message = "Write a whole number of seconds from 30 to 900, which is the most that AWS Lambda has."
  }
}

variable "concurrency" {
  description = "How many requests one instance serves at a time on Azure and Google Cloud. On AWS it is one; there, max_instances times concurrency instances can run, so that the cap on requests at a time is the same."
  type        = number
  default     = 20
  nullable    = false

  validation {
    condition     = var.concurrency >= 1 && var.concurrency <= 1000 && floor(var.concurrency) == var.concurrency
    error_message = "Write a whole number from 1 to 1000."
  }
}

variable "min_instances" {
  description = "How many instances to keep ready (and pay for) when nothing is asked. 0 costs nothing, and the first request after a pause waits for a cold start."
  type        = number
  default     = 0
  nullable    = false

  validation {
    condition     = var.min_instances >= 0 && var.min_instances <= 100 && floor(var.min_instances) == var.min_instances
    error_message = "Write a whole number from 0 to 100."
  }
}

variable "max_instances" {
  description = "The flood cap: how many instances can run at a time; what is more is refused by the cloud (429 on AWS and Google Cloud). null for the cloud's own limit."
  type        = number
  default     = 5

  validation {
    condition     = var.max_instances == null ? true : var.max_instances >= max(1, var.min_instances) && var.max_instances <= 1000 && floor(var.max_instances) == var.max_instances
    error_message = "Write a whole number from 1 to 1000 that is not below min_instances, or null."
  }
}

variable "alarm_email" {
  description = "Who is told when the function fails; null for nobody. AWS and Google Cloud send a mail first that asks to confirm the address."
  type        = string
  default     = null

  validation {
    condition     = var.alarm_email == null || can(regex("^[^@[:space:]]+@[^@[:space:]]+[.][^@[:space:]]+$", var.alarm_email))
    error_message = "Write an e-mail address, or null."
  }
}

variable "log_retention_days" {
  description = "How long the logs are kept."
  type        = number
  default     = 365
  nullable    = false

  validation {
    condition     = contains([30, 60, 90, 120, 180, 365, 545], var.log_retention_days)
    error_message = "Write 30, 60, 90, 120, 180, 365 or 545: the lengths that all three clouds have."
  }
}

variable "tags" {
  description = "Labels that everything made here carries."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for key, value in var.tags : can(regex("^[a-z][a-z0-9_-]{0,62}$", key)) && can(regex("^[a-z0-9_-]{0,63}$", value))])
    error_message = "Write keys and values in lower-case letters, digits, _ and -, of 63 characters at most: what all three clouds take."
  }
}

variable "deletion_protection" {
  description = "Whether the cloud refuses to delete the store of apps, keys and budgets. Set it to false, and apply, before `make destroy`."
  type        = bool
  default     = false
  nullable    = false
}

variable "environment" {
  description = "More environment variables of the function, such as OPENAI_ORG_ID. They stand in the state and in the cloud's console: no secrets."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for name in keys(var.environment) : can(regex("^[A-Z][A-Z0-9_]*$", name))])
    error_message = "Write names of environment variables in capitals, such as OPENAI_ORG_ID."
  }
  validation {
    condition     = length(setintersection(keys(var.environment), var.secret_names)) == 0 && !anytrue([for name in keys(var.environment) : can(regex("(KEY|TOKEN|SECRET|PASSWORD|BEARER)", name))])
    error_message = "A secret must not stand here: name its variable in secret_names and give the value in extra_secrets."
  }
}

# Secrets. Their values are ephemeral: they go from here into the cloud's secret store and stand in no state, plan or
# output. Give them as TF_VAR_openai_api_key, TF_VAR_admin_key and TF_VAR_extra_secrets, not in a file.

variable "secret_names" {
  description = "The environment variables that are secrets, each with a value below: those that api_key_env names in trefoil.toml, and TREFOIL_ADMIN_KEY."
  type        = set(string)
  default     = ["OPENAI_API_KEY", "TREFOIL_ADMIN_KEY"]
  nullable    = false

  validation {
    condition     = alltrue([for name in var.secret_names : can(regex("^[A-Z][A-Z0-9_]*$", name))]) && length(var.secret_names) > 0
    error_message = "Write at least one name of an environment variable in capitals, such as AZURE_OPENAI_API_KEY."
  }
}

variable "secrets_version" {
  description = "Add 1 whenever a secret changes: only then the secrets are written again."
  type        = number
  default     = 1
  nullable    = false

  validation {
    condition     = var.secrets_version >= 1 && floor(var.secrets_version) == var.secrets_version
    error_message = "Write a whole number from 1."
  }
}

variable "openai_api_key" {
  description = "The key of OpenAI's API: OPENAI_API_KEY."
  type        = string
  default     = null
  sensitive   = true
  ephemeral   = true
}

variable "admin_key" {
  description = "The key of the admin API: TREFOIL_ADMIN_KEY. Make one with: openssl rand -hex 32"
  type        = string
  default     = null
  sensitive   = true
  ephemeral   = true

  validation {
    condition     = var.admin_key == null ? true : length(var.admin_key) >= 32
    error_message = "Write at least 32 random characters, such as `openssl rand -hex 32` prints."
  }
}

variable "extra_secrets" {
  description = "The values of the other names in secret_names, by name."
  type        = map(string)
  default     = {}
  nullable    = false
  sensitive   = true
  ephemeral   = true
}
