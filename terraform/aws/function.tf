locals {
  package_path = coalesce(var.package_path, "${path.module}/../../build/aws.zip")
  # What `make package` says of the zip; a zip that was built by other means says nothing.
  package = try(jsondecode(file(replace(local.package_path, "/[.]zip$/", ".json"))), {})
}

resource "aws_lambda_function" "gateway" {
  #checkov:skip=CKV_AWS_50: traces would need a permission on all resources; each request has a log line and a request id
  #checkov:skip=CKV_AWS_116: a dead letter queue is for asynchronous calls, and nobody may make these
  #checkov:skip=CKV_AWS_117: in a VPC it could not reach the model's service without a NAT gateway, which costs more than all else
  #checkov:skip=CKV_AWS_173: no variable of it is a secret; AWS encrypts them with its own key
  #checkov:skip=CKV_AWS_272: who may deploy may sign too; what is deployed is told by its hash

  function_name = var.name
  # A change of the secrets changes the description, so that sandboxes are made anew, which read them.
  description      = "Trefoil, an OpenAI wrapper API (secrets: version ${var.secrets_version})"
  role             = aws_iam_role.function.arn
  filename         = local.package_path
  source_code_hash = fileexists(local.package_path) ? filebase64sha256(local.package_path) : null
  runtime          = "python3.13"
  architectures    = [var.architecture]
  handler          = "lambda_function.lambda_handler"
  memory_size      = var.memory_mb
  timeout          = var.timeout_seconds
  publish          = true # each deployment is a version that one can go back to

  reserved_concurrent_executions = var.max_instances == null ? -1 : var.max_instances * var.concurrency

  environment {
    variables = merge(var.environment, {
      AWS_LAMBDA_EXEC_WRAPPER = "/var/task/run" # streams; without it, answers come in one piece
      TREFOIL_SECRET          = aws_secretsmanager_secret.environment.arn
      TREFOIL_STORE           = "dynamodb:${aws_dynamodb_table.store.name}"
    })
  }

  lifecycle {
    precondition { # which `terraform destroy` only warns of
      condition     = fileexists(local.package_path)
      error_message = "There is no package: make package CLOUD=aws"
    }
    precondition {
      condition     = try(local.package.architecture, var.architecture) == var.architecture
      error_message = "The package is for another architecture: make package CLOUD=aws ARGS=\"--architecture ${var.architecture}\""
    }
    precondition {
      condition     = try(local.package.python, "3.13") == "3.13"
      error_message = "The package is for another Python: make package CLOUD=aws"
    }
  }

  depends_on = [
    aws_cloudwatch_log_group.function,
    aws_iam_role_policy.function,
    aws_secretsmanager_secret_version.environment,
  ]
}

# What clients call. To go back one version at once, point it at the one before; see the documentation.
resource "aws_lambda_alias" "live" {
  name             = "live"
  description      = "The version that answers"
  function_name    = aws_lambda_function.gateway.function_name
  function_version = aws_lambda_function.gateway.version
}

resource "aws_lambda_function_url" "live" {
  #checkov:skip=CKV_AWS_258: OpenAI's clients send a bearer key, which the function checks itself; they cannot sign for AWS
  count = var.function_url ? 1 : 0

  function_name      = aws_lambda_function.gateway.function_name
  qualifier          = aws_lambda_alias.live.name
  authorization_type = "NONE"
  invoke_mode        = "RESPONSE_STREAM"
}

# Since October 2025 a public URL needs two statements. The provider makes the first, lambda:InvokeFunctionUrl, itself.
# The second it can only say since 6.42, and CloudFormation on all versions.
# https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html
resource "aws_cloudformation_stack" "public_url" {
  #checkov:skip=CKV_AWS_124: nobody waits for news of one permission
  count = length(aws_lambda_function_url.live)

  name = "${var.name}-public-url"
  template_body = jsonencode({
    Description = "Lets anyone call the function ${var.name}, by its URL only; the function checks the caller's key."
    Resources = {
      Invoke = {
        Type = "AWS::Lambda::Permission"
        Properties = {
          Action                = "lambda:InvokeFunction"
          FunctionName          = aws_lambda_alias.live.arn
          InvokedViaFunctionUrl = true
          Principal             = "*"
        }
      }
    }
  })
}

resource "aws_lambda_provisioned_concurrency_config" "live" {
  count = var.min_instances > 0 ? 1 : 0

  function_name                     = aws_lambda_function.gateway.function_name
  qualifier                         = aws_lambda_alias.live.name
  provisioned_concurrent_executions = var.min_instances
}
